"""Files of the misc controller: who finds them, may open them, what a write does."""

import ctypes
import errno
import os
from pathlib import Path
from struct import pack

import pytest

from softsgx.driver.driver import Driver
from softsgx.driver.epc.cgroup import NO_LIMIT, Cgroup, EpcCgroups
from softsgx.driver.mm import Mm
from softsgx.machine.machine import Machine
from softsgx.native.abi import ANY_INODE
from softsgx.platform.models import MODELS
from softsgx.platform.platform import Platform
from softsgx.runner.answers import NOT_OURS
from softsgx.runner.task import cgroups
from softsgx.runner.task.caller import Caller
from softsgx.runner.task.cgroups import MountedHierarchy
from softsgx.runner.task.files import Files
from softsgx.runner.task.marks import mark_memory
from softsgx.runner.task.process import Process, UserTask
from softsgx.runner.vfs import cgroup_files, lookup
from softsgx.runner.vfs.cgroup_files import CgroupFiles
from softsgx.runner.vfs.lookup import AT_FDCWD, Lookup
from softsgx.runner.vfs.views import Kind, View, ViewFile, Views
from softsgx.runner.vfs.written import WRITE, WRITEV
from tests.runner.view_files import fails, opened

ME = os.getpid()
NAMES = ["misc.max", "misc.current", "misc.peak", "misc.events", "misc.events.local"]
EPC = 1 << 20


def machine() -> Machine:
    return Platform.ephemeral(MODELS["icelake-server"]).machine()


class World:
    """A hierarchy that is a directory of ours, and a task of this process.

    *lines*: what each process's mountinfo says.
    """

    def __init__(self, place: Path, lines: list[str]) -> None:
        self.place = place
        self.lines = lines
        self.driver = Driver(machine())
        self.cgroups = self.driver.cgroups
        self.hierarchy = MountedHierarchy()
        self.files = CgroupFiles(self.cgroups, self.hierarchy, EPC)
        self.cgroups._hierarchy = self.hierarchy
        files = Files(self.driver)
        self.task = UserTask(Caller(ME), Process(ME, Mm(owner=ME)), files)
        self.views = Views(self.driver.machine, gid=7, found=self.files)

    def view(self, path: str) -> View | None:
        return Lookup(self.views, self.task).path(
            AT_FDCWD, f"{self.place}{path}", follow=True
        )

    def file(self, path: str) -> ViewFile:
        view = self.view(path)
        assert view
        assert view.file
        return view.file

    def read(self, path: str) -> str:
        fd = self.file(path).open(os.O_RDONLY)
        with os.fdopen(fd) as file:
            return file.read()

    def write(self, fd: int, *pieces: bytes) -> int:
        buffers = [ctypes.create_string_buffer(piece) for piece in pieces]
        places = [
            (ctypes.addressof(one), len(piece))
            for one, piece in zip(buffers, pieces, strict=True)
        ]
        if len(pieces) == 1:
            return self.files.write(self.task, WRITE, (fd, *places[0], 0, 0))
        raw = b"".join(pack("<QQ", *place) for place in places)
        table = ctypes.create_string_buffer(raw)
        args = (fd, ctypes.addressof(table), len(pieces), 0, 0)
        return self.files.write(self.task, WRITEV, args)

    def cgroup(self, path: str) -> Cgroup:
        return self.cgroups.find(path)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    lines = [f"31 22 0:27 / {tmp_path} rw - cgroup2 cgroup2 rw\n"]
    monkeypatch.setattr(cgroups, "read_proc", lambda _: lines[0])
    (tmp_path / "a" / "b").mkdir(parents=True)
    return World(tmp_path, lines)


def test_each_directory_has_them_and_the_root_others(world: World) -> None:
    place = str(world.place)
    root = ["misc.current", "misc.peak", "misc.capacity"]
    assert [one.name for one in world.files.entries(ME, place)] == root
    assert [one.name for one in world.files.entries(ME, f"{place}/a")] == NAMES
    assert not world.files.entries(ME, f"{place}/none")
    assert not world.files.entries(ME, "/proc")
    assert world.files.listed == (world.place.stat().st_dev, ANY_INODE)
    for path in ("/misc.max", "/a/misc.capacity", "/none/misc.max", "/a/misc.c"):
        assert world.view(path) is None


def test_a_directory_is_the_one_that_we_see_ourselves(
    world: World, tmp_path_factory: pytest.TempPathFactory
) -> None:
    assert world.view("/a/misc.max")
    elsewhere = Path("/dev/shm")  # noqa: S108 -- another file system
    world.lines[0] += f"31 22 0:27 / {elsewhere} rw - cgroup2 cgroup2 rw\n"
    assert not world.files.entries(ME, str(elsewhere))
    # Mounted by somebody to look like a cgroup that is another's.
    other = tmp_path_factory.mktemp("other")
    world.lines[0] += f"31 22 0:27 /a {other} rw - cgroup2 cgroup2 rw\n"
    assert not world.files.entries(ME, str(other))
    assert world.files.get(ME, f"{other}/misc.max") is None
    # Of most directories the device says that they are none: no mount is looked at.
    world.lines.clear()
    assert not world.files.entries(ME, "/proc")


def test_where_a_program_serves_files_nobody_looks_for_ours(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = Lookup(world.views, world.task)
    assert len(find.entries(f"{world.place}/a")) == 5
    mount = f"40 31 0:5 / {world.place} rw - fuse.sshfs x rw\n"
    monkeypatch.setattr(lookup, "read_proc", lambda _: mount)
    assert world.view("/a/misc.max") is None
    find = Lookup(world.views, world.task)
    assert not find.entries(f"{world.place}/a")
    assert not find.entries(str(world.place))


def test_a_view_has_the_owner_of_its_directory_and_an_inode_of_its_own(
    world: World,
) -> None:
    os.chown(world.place / "a", 12, 34)
    views = [world.view(f"/a/{name}") for name in NAMES]
    assert {(one.uid, one.gid, one.kind) for one in views if one} == {
        (12, 34, Kind.TEXT)
    }
    assert [one.mode for one in views if one] == [0o644, 0o444, 0o444, 0o444, 0o444]
    other = world.view("/a/b/misc.max")
    assert len({one.number for one in [*views, other] if one}) == 6


def test_they_say_what_is_charged(world: World) -> None:
    world.cgroups.enter(Member("/a/b"))
    world.cgroups.charge(0, 3, listed=True)
    assert world.read("/a/misc.current") == "sgx_epc 12288\n"
    assert world.read("/misc.current") == "sgx_epc 12288\n"
    assert world.read("/misc.capacity") == f"sgx_epc {EPC}\n"
    assert world.read("/a/misc.max") == "sgx_epc max\n"


class Member:
    """Where this thread is."""

    def __init__(self, path: str) -> None:
        self.path = path

    def cgroup(self, tree: EpcCgroups) -> Cgroup:
        return tree.find(self.path)


def test_a_write_sets_the_limit(world: World) -> None:
    file = world.file("/a/misc.max")
    with opened(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as fd:
        assert world.write(fd, b"sgx_epc 16777216\n") == 17
        assert world.cgroup("/a").max == 16 << 20
        assert world.read("/a/misc.max") == "sgx_epc 16777216\n"
        # As in kernfs, writev is one write, and where it would go is nobody's concern.
        assert world.write(fd, b"sgx_", b"", b"epc 40", b"96\n") == 13
        assert world.cgroup("/a").max == 4096
    with opened(file, os.O_RDWR) as fd:
        assert os.read(fd, 100) == b"sgx_epc 4096\n"
        assert world.write(fd, b"sgx_epc max") == 11
    assert world.cgroup("/a").max == NO_LIMIT
    assert world.cgroup("/a/b").max == NO_LIMIT


def test_what_is_no_limit_changes_nothing(world: World) -> None:
    with opened(world.file("/a/misc.max"), os.O_WRONLY) as fd:
        for data, number in (
            (b"sgx_epc 16M\n", errno.EINVAL),
            (b"", errno.EINVAL),
            (b"sgx_epc 99999999999999999999", errno.ERANGE),
            (b"sev 5\n", errno.EINVAL),
            (b"x" * 4097, errno.E2BIG),
        ):
            with fails(number):
                world.write(fd, data)
        with fails(errno.EFAULT):
            world.files.write(world.task, WRITE, (fd, 1, 5, 0, 0))
        with fails(errno.EINVAL):
            world.files.write(world.task, WRITEV, (fd, 1, 1025, 0, 0))
    with opened(world.file("/a/misc.current"), os.O_WRONLY) as fd, fails(errno.EINVAL):
        world.write(fd, b"sgx_epc 5\n")
    assert world.cgroup("/a").max == NO_LIMIT


def test_only_what_was_opened_to_be_written_is_written(world: World) -> None:
    forged = os.memfd_create(mark_memory(f"{world.place}/a/misc.max"))
    with opened(world.file("/a/misc.max"), os.O_RDONLY) as fd:
        for one in (fd, forged, 0, 1 << 20):
            with fails(NOT_OURS):
                world.write(one, b"sgx_epc 5\n")
    with opened(world.file("/a/misc.max"), os.O_RDWR) as fd:
        again = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY)
        with fails(NOT_OURS):
            world.write(again, b"sgx_epc 5\n")
        os.close(again)
        with fails(errno.EPERM):
            os.write(fd, b"sgx_epc 5\n")
    os.close(forged)
    assert world.cgroup("/a").max == NO_LIMIT


def test_the_limit_of_a_directory_that_is_gone_is_nobodys(world: World) -> None:
    with opened(world.file("/a/b/misc.max"), os.O_WRONLY) as fd:
        keep = world.place / "keep"
        (world.place / "a" / "b").rename(keep)
        with fails(errno.ENODEV):
            world.write(fd, b"sgx_epc 5\n")
        # Another of the same path, which who opened the first may not be allowed to.
        (world.place / "a" / "b").mkdir()
        with fails(errno.ENODEV):
            world.write(fd, b"sgx_epc 5\n")
    assert world.cgroup("/a/b").max == NO_LIMIT


def test_a_view_of_a_directory_that_is_gone_does_not_open(world: World) -> None:
    file = world.file("/a/b/misc.max")
    (world.place / "a" / "b").rename(world.place / "keep")
    for flags in (os.O_RDONLY, os.O_WRONLY):
        with fails(errno.ENOENT):
            file.open(flags)


def test_a_mount_to_be_read_is_not_written(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.statvfs(world.place)
    values = [*real[:10], real.f_namemax]
    values[8] = os.ST_RDONLY
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(values))
    file = world.file("/a/misc.max")
    with fails(errno.EROFS):
        file.open(os.O_WRONLY)
    with opened(file, os.O_RDONLY) as fd:
        assert os.read(fd, 100) == b"sgx_epc max\n"


def test_lines_of_other_resources_are_the_machines_own(world: World) -> None:
    native = world.place / "a" / "misc.max"
    native.write_text("sev 5\nsgx_epc 7\nsev_es max\n")
    native.chmod(0o600)
    os.chown(native, 5, 6)
    view = world.view("/a/misc.max")
    assert view
    assert (view.uid, view.gid) == (5, 6)
    assert world.read("/a/misc.max") == "sev 5\nsev_es max\nsgx_epc max\n"
    listed = [one.name for one in world.files.entries(ME, f"{world.place}/a")]
    assert listed == NAMES[1:]
    with opened(world.file("/a/misc.max"), os.O_WRONLY) as fd:
        assert world.write(fd, b"sgx_epc 4096\n") == 13
        assert native.read_text().startswith("sev 5\n")
        assert world.write(fd, b"sev 6\n") == 6
    assert native.read_text().startswith("sev 6\n")
    assert world.cgroup("/a").max == 4096


def test_who_opens_many_must_close_some(world: World) -> None:
    file = world.file("/a/misc.max")
    fds = [file.open(os.O_WRONLY) for _ in range(64)]
    with fails(errno.ENFILE):
        file.open(os.O_WRONLY)
    world.read("/a/misc.max")
    os.close(fds.pop())
    with opened(file, os.O_WRONLY) as fd:
        assert world.write(fd, b"sgx_epc 5") == 9
    for fd in fds:
        os.close(fd)
    with opened(file, os.O_WRONLY):
        assert len(world.files._writers) == 1


def test_at_the_end_all_is_given_back(world: World) -> None:
    native = world.place / "a" / "misc.max"
    native.touch()

    def has() -> list[str]:
        return sorted(os.listdir("/proc/self/fd"))  # noqa: PTH208 -- a string

    before = has()
    fds = [world.file("/a/misc.max").open(os.O_WRONLY) for _ in range(3)]
    world.files.close()
    for fd in fds:
        with fails(NOT_OURS):
            world.write(fd, b"sgx_epc 5\n")
        os.close(fd)
    assert has() == before


def test_without_cgroups_there_is_a_root(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cgroups, "read_proc", lambda _: "")
    monkeypatch.setattr(cgroup_files, "CGROUP_ROOT", str(world.place))
    bare = World(world.place, [])
    assert bare.read("/misc.capacity") == f"sgx_epc {EPC}\n"
    assert bare.read("/misc.current") == "sgx_epc 0\n"
    assert bare.view("/misc.max") is None
    assert bare.view("/a/misc.max") is None
    status = world.place.stat()
    assert bare.files.listed == (status.st_dev, status.st_ino)
    assert len(bare.files.entries(ME, str(world.place))) == 3
