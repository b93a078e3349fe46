"""What a machine with SGX has at which path, and how a process finds it."""

import os
import stat
import tempfile
from dataclasses import replace
from pathlib import Path
from struct import unpack_from

import pytest

from softsgx.driver.driver import Driver
from softsgx.driver.mm import Mm
from softsgx.machine.machine import Machine
from softsgx.machine.model import Model
from softsgx.platform.models import MODELS
from softsgx.platform.platform import Platform
from softsgx.runner.task.caller import Caller
from softsgx.runner.task.files import Files
from softsgx.runner.task.marks import mark_directory, mark_memory, marked_path
from softsgx.runner.task.process import Process, UserTask
from softsgx.runner.vfs.cpuinfo import cpuinfo
from softsgx.runner.vfs.credentials import R_OK, W_OK, X_OK, Credentials
from softsgx.runner.vfs.lookup import AT_FDCWD, Lookup
from softsgx.runner.vfs.stats import (
    dirents,
    native_stat,
    native_statx,
    stat_of,
    statx_of,
)
from softsgx.runner.vfs.views import Kind, Views

ME = os.getpid()
CPUINFO = """\
processor\t: 0
vendor_id\t: AuthenticAMD
cpu family\t: 26
model\t\t: 2
model name\t: AMD EPYC
stepping\t: 1
cpuid level\t: 16
flags\t\t: fpu mmxext fsgsbase tsc_adjust bmi1 topoext
bugs\t\t: spectre_v1 srso
TLB size\t: 192 4K pages

"""


def machine(name: str = "icelake-server") -> Machine:
    return Platform.ephemeral(MODELS[name]).machine()


def lookup(views: Views) -> Lookup:
    files = Files(Driver(machine()))
    return Lookup(views, UserTask(Caller(ME), Process(ME, Mm(owner=ME)), files))


VIEWS = Views(machine(), gid=7)


def test_a_machine_with_sgx_has_two_nodes_and_links_to_them() -> None:
    node = VIEWS.get("/dev/sgx_provision")
    link = VIEWS.get("/dev/sgx/provision")
    assert node
    assert link
    assert (node.kind, node.mode, node.gid) == (Kind.NODE, 0o660, 7)
    assert (link.kind, link.target) == (Kind.LINK, "../sgx_provision")
    assert {view.name for view in VIEWS.entries("/dev/sgx")} == {"enclave", "provision"}
    assert "/dev" in VIEWS.listed
    assert "/dev/sgx" not in VIEWS.listed


def test_a_directory_of_views_is_known_by_its_inode() -> None:
    assert VIEWS.home(Path("/dev/../dev").stat()) == "/dev"
    assert VIEWS.home(Path("/dev/char").parent.parent.stat()) is None
    assert {"sgx_enclave", "cpuinfo"} <= VIEWS.names
    assert "null" not in VIEWS.names


def test_under_locked_launch_control_there_is_isgx_alone() -> None:
    views = Views(machine("skylake-client"))
    for path in ("/dev/sgx_enclave", "/dev/sgx_provision", "/dev/sgx"):
        assert views.get(path) is None
    node = views.get("/dev/isgx")
    assert node
    assert (node.kind, node.mode, node.gid) == (Kind.NODE, 0o666, 0)
    assert views.get("/proc/cpuinfo")
    assert "/dev" in views.listed
    device = "/sys/devices/platform/intel_sgx/misc/isgx"
    for path in ("/sys/class/misc/isgx/dev", f"{device}/subsystem/isgx/dev"):
        found = lookup(views).path(AT_FDCWD, path, follow=True)
        assert found
        assert found.path == f"{device}/dev"


def test_where_there_can_be_guests_their_epc_is_a_node_of_a_group() -> None:
    views = Views(Platform.ephemeral(Model(vmx=True)).machine(), gid=7)
    node = views.get("/dev/sgx_vepc")
    assert node
    assert (node.kind, node.mode, node.gid) == (Kind.NODE, 0o660, 7)
    assert views.get("/sys/devices/virtual/misc/sgx_vepc/dev")
    assert {view.name for view in views.entries("/dev/sgx")} == {"enclave", "provision"}


def test_a_model_without_sgx_has_no_device() -> None:
    model = replace(MODELS["skylake-client"], sgx1=False)
    views = Views(Platform.ephemeral(model).machine())
    assert views.get("/dev/isgx") is None
    assert views.get("/proc/misc") is None
    assert not views.listed


@pytest.mark.parametrize(
    ("cpu", "hidden"),
    [
        ("icelake-server", {"isgx"}),
        ("skylake-client", {"sgx_enclave", "sgx_provision", "sgx", "x86"}),
    ],
)
def test_what_this_machine_has_and_the_model_has_not_is_hidden(
    cpu: str, hidden: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os.path, "lexists", bool)
    views = Views(machine(cpu), gid=7)
    paths = [
        *(f"/dev/{name}" for name in ("isgx", "sgx", "sgx_enclave", "sgx_provision")),
        "/sys/devices/system/node/node0/x86",
    ]
    found = {path: view.kind for path in paths if (view := views.get(path))}
    absent = {path for path, kind in found.items() if kind is Kind.ABSENT}
    assert {path.rpartition("/")[2] for path in absent} == hidden
    with pytest.raises(FileNotFoundError):
        lookup(views).path(AT_FDCWD, sorted(absent)[0], follow=True)


def test_inodes_are_different() -> None:
    paths = ["/dev/sgx_enclave", "/dev/sgx_provision", "/dev/sgx", "/proc/cpuinfo"]
    assert len({view.number for path in paths if (view := VIEWS.get(path))}) == 4


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/dev/sgx_enclave", "/dev/sgx_enclave"),
        ("/dev/sgx/enclave", "/dev/sgx_enclave"),
        ("//dev/./sgx/../sgx_enclave", "/dev/sgx_enclave"),
        ("/proc/thread-self/../../../../dev/sgx/", "/dev/sgx"),
        (
            "/sys/class/misc/sgx_enclave/dev",
            "/sys/devices/virtual/misc/sgx_enclave/dev",
        ),
        ("/proc/cpuinfo", "/proc/cpuinfo"),
    ],
)
def test_a_path_leads_to_a_view(path: str, found: str) -> None:
    view = lookup(VIEWS).path(AT_FDCWD, path, follow=True)
    assert view
    assert view.path == found


@pytest.mark.parametrize(
    "path", ["", "/dev/null", "/dev/sgx_enclave2", "/no/sgx_enclave", "/proc/1/cpuinfo"]
)
def test_other_paths_are_the_kernels(path: str) -> None:
    assert lookup(VIEWS).path(AT_FDCWD, path, follow=True) is None


def test_a_link_at_the_end_is_followed_only_when_asked() -> None:
    view = lookup(VIEWS).path(AT_FDCWD, "/dev/sgx/enclave", follow=False)
    assert view
    assert view.kind is Kind.LINK
    with pytest.raises(NotADirectoryError):
        lookup(VIEWS).path(AT_FDCWD, "/dev/sgx_enclave/", follow=True)


def test_paths_begin_at_descriptors_and_links_of_the_programs_own(
    tmp_path: Path,
) -> None:
    fd = os.open("/dev", os.O_PATH)
    (tmp_path / "own").symlink_to("/dev/sgx")
    (tmp_path / "round").symlink_to(tmp_path / "round")
    try:
        by_fd = lookup(VIEWS).path(fd, "sgx_enclave", follow=True)
    finally:
        os.close(fd)
    by_link = lookup(VIEWS).path(AT_FDCWD, f"{tmp_path}/own/enclave", follow=True)
    assert by_fd is by_link is VIEWS.get("/dev/sgx_enclave")
    with pytest.raises(OSError, match="too many links"):
        lookup(VIEWS).path(AT_FDCWD, f"{tmp_path}/round/enclave", follow=True)


def test_file_systems_that_somebody_serves_are_not_walked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sgx").symlink_to("/dev/sgx")
    path = f"{tmp_path}/sgx/enclave"
    assert lookup(VIEWS).path(AT_FDCWD, path, follow=True)
    line = f"30 1 0:30 / {tmp_path} rw,nosuid shared:7 - fuse.sshfs there rw\n"
    monkeypatch.setattr("softsgx.runner.vfs.lookup.read_proc", lambda _: line)
    assert lookup(VIEWS).path(AT_FDCWD, path, follow=True) is None
    assert lookup(VIEWS).path(AT_FDCWD, "/dev/sgx_enclave", follow=True)


def test_what_is_open_tells_what_it_stands_for() -> None:
    fd = os.memfd_create(mark_memory("/dev/sgx_enclave"))
    place = tempfile.mkdtemp(prefix=mark_directory("/dev/sgx"))
    directory = os.open(place, os.O_RDONLY)
    Path(place).rmdir()
    try:
        assert lookup(VIEWS).opened(fd) is VIEWS.get("/dev/sgx_enclave")
        assert lookup(VIEWS).opened(directory) is VIEWS.get("/dev/sgx")
        found = lookup(VIEWS).path(directory, "enclave", follow=True)
        assert found is VIEWS.get("/dev/sgx_enclave")
        link = lookup(VIEWS).path(AT_FDCWD, f"/proc/self/fd/{fd}", follow=False)
        assert link
        assert (link.target, link.number) == ("/dev/sgx_enclave", 0)
    finally:
        os.close(fd)
        os.close(directory)
    assert marked_path("/a/softsgx:x (deleted)") is None
    assert lookup(VIEWS).opened(fd) is None


def test_stat_and_statx_say_the_same() -> None:
    view = VIEWS.get("/dev/sgx_enclave")
    assert view
    plain, extended = stat_of(view), statx_of(view)
    assert (len(plain), len(extended)) == (144, 256)
    device, inode, links, mode, _, _, _, rdev = unpack_from("<QQQIIIIQ", plain)
    assert device == Path("/dev").stat().st_dev
    assert (inode, links, rdev) == (view.number, 1, os.makedev(10, 125))
    assert stat.S_ISCHR(mode)
    assert unpack_from("<H", extended, 28)[0] == mode
    assert unpack_from("<Q", extended, 32)[0] == inode
    assert unpack_from("<II", extended, 128) == (10, 125)


def test_what_this_machine_has_is_told_as_it_is() -> None:
    status = Path("/dev").stat()
    plain, extended = native_stat(status), native_statx(status)
    assert (len(plain), len(extended)) == (144, 256)
    assert unpack_from("<QQQIIII", plain) == (
        *(status.st_dev, status.st_ino, status.st_nlink, status.st_mode),
        *(status.st_uid, status.st_gid, 0),
    )
    size, _, _, *times = unpack_from("<qqq6q", plain, 48)
    assert size == status.st_size
    assert times[2] * 10**9 + times[3] == status.st_mtime_ns
    assert unpack_from("<IIIHxxQQ", extended, 16) == (
        *(status.st_nlink, status.st_uid, status.st_gid, status.st_mode),
        *(status.st_ino, status.st_size),
    )
    seconds, nanoseconds = unpack_from("<qI", extended, 112)
    assert seconds * 10**9 + nanoseconds == status.st_mtime_ns
    device = os.major(status.st_dev), os.minor(status.st_dev)
    assert unpack_from("<II", extended, 136) == device


def test_entries_of_a_directory_lie_one_behind_the_other() -> None:
    raw = dirents(VIEWS.entries("/dev/sgx"), 99)
    names, at = [], 0
    while at < len(raw):
        inode, position, size, kind = unpack_from("<QqHB", raw, at)
        assert inode
        assert (position, size % 8, kind) == (99, 0, stat.S_IFLNK >> 12)
        names.append(raw[at + 19 : at + size].rstrip(b"\0"))
        at += size
    assert names == [b"enclave", b"provision"]


def test_a_position_that_no_directory_has_is_cut() -> None:
    raw = dirents(VIEWS.entries("/dev/sgx"), (1 << 64) - 1)
    assert unpack_from("<q", raw, 8)[0] == (1 << 63) - 1


def test_cpuinfo_has_the_models_name_and_flags() -> None:
    text = cpuinfo(CPUINFO, machine())
    assert "vendor_id\t: GenuineIntel\n" in text
    assert "model\t\t: 106\n" in text
    assert "cpuid level\t: 18\n" in text
    assert "flags\t\t: fpu fsgsbase tsc_adjust sgx bmi1 sgx_lc\n" in text
    assert "bugs\t\t: spectre_v1\n" in text
    assert "TLB" not in text
    assert text.endswith("\n\n")


def test_cpuinfo_without_launch_control_and_without_a_name() -> None:
    locked = cpuinfo(CPUINFO, machine("skylake-client"))
    assert " sgx " in locked
    assert "sgx_lc" not in locked
    own = cpuinfo(CPUINFO, machine("host"))
    assert own.replace(" sgx ", " ").replace(" sgx_lc", "") == CPUINFO
    off = machine()
    off.package.feature_control = type(off.package.feature_control)(0)
    assert "sgx" not in cpuinfo(CPUINFO, off).lower()


@pytest.mark.parametrize(
    ("uid", "gids", "wanted", "may"),
    [
        (0, set(), R_OK | W_OK, True),
        (0, set(), X_OK, False),
        (5, {7}, R_OK | W_OK, True),
        (5, {8}, R_OK, False),
        (5, {7}, X_OK, False),
    ],
)
def test_a_mode_is_for_owners_groups_and_others(
    uid: int, gids: set[int], wanted: int, *, may: bool
) -> None:
    who = Credentials(uid, frozenset(gids))
    assert who.may(wanted, 0o660, 7) is may


def test_credentials_are_the_threads() -> None:
    who = Credentials.of(ME, real=True)
    assert who.uid == os.getuid()
    assert os.getgid() in who.gids
