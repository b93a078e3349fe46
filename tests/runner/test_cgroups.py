"""Which cgroup a process is in, and where the directories of cgroups are."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from softsgx.driver.epc.cgroup import EpcCgroups
from softsgx.runner.task import cgroups
from softsgx.runner.task.cgroups import (
    Membership,
    Mount,
    MountedHierarchy,
    mounted_path,
    mounts,
    unified_path,
)
from tests.driver.cgroups import Tree

MOUNTINFO = r"""22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
30 22 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
31 22 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:4 - cgroup2 cgroup2 rw
40 22 0:27 /jobs/a\040b /mnt/my\134job ro - cgroup2 cgroup2 rw
"""


@pytest.fixture
def mountinfo(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return a list of one: what each process's mountinfo says."""
    texts = [MOUNTINFO]
    monkeypatch.setattr(cgroups, "read_proc", lambda _: texts[0])
    return texts


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"0::/\n", "/"),
        (b"0::/user.slice/a b\n", "/user.slice/a b"),
        (b"4:memory:/x\n1:name=systemd:/y\n0::/z\n", "/z"),
        (b"0::/../other\n", "/../other"),
        (b"0::/\xff\n", "/\udcff"),
        (b"4:memory:/x\n1:name=systemd:/y\n", "/.."),
        (b"", "/.."),
    ],
)
def test_the_path_is_that_of_the_unified_hierarchy(raw: bytes, path: str) -> None:
    assert unified_path(raw) == path


@pytest.mark.usefixtures("mountinfo")
def test_mounts_of_cgroup2_are_found_with_what_they_begin_at() -> None:
    assert mounts("self") == [
        Mount("/sys/fs/cgroup/unified", "/"),
        Mount(r"/mnt/my\job", "/jobs/a b"),
    ]


@pytest.mark.parametrize(
    ("directory", "path"),
    [
        ("/sys/fs/cgroup/unified", "/"),
        ("/sys/fs/cgroup/unified/x/y", "/x/y"),
        ("/sys/fs/cgroup/unifiedx", None),
        ("/sys/fs/cgroup", None),
        (r"/mnt/my\job", "/jobs/a b"),
        (r"/mnt/my\job/c", "/jobs/a b/c"),
    ],
)
@pytest.mark.usefixtures("mountinfo")
def test_a_directory_is_of_a_cgroup(directory: str, path: str | None) -> None:
    assert mounted_path(1, directory) == path


def test_a_mount_at_the_root_and_one_of_a_part() -> None:
    assert Mount("/", "/").path_of("/") == "/"
    assert Mount("/", "/").path_of("/a") == "/a"
    part = Mount("/cg", "/docker/x")
    assert part.directory_of("/docker/x") == "/cg"
    assert part.directory_of("/docker/x/y") == "/cg/y"
    assert part.directory_of("/docker/xy") is None
    assert part.directory_of("/") is None


def test_a_container_does_not_see_the_root(
    tmp_path: Path, mountinfo: list[str]
) -> None:
    mountinfo[0] = f"31 22 0:27 / {tmp_path} rw - cgroup2 cgroup2 rw\n"
    assert MountedHierarchy().has_root
    (tmp_path / "cgroup.events").touch()
    assert not MountedHierarchy().has_root


def test_directories_are_told_apart_by_their_numbers(
    tmp_path: Path, mountinfo: list[str]
) -> None:
    mountinfo[0] = f"31 22 0:27 / {tmp_path} rw - cgroup2 cgroup2 rw\n"
    hierarchy = MountedHierarchy()
    (tmp_path / "a").mkdir()
    assert hierarchy.ident("/a") == (tmp_path / "a").stat().st_ino
    assert hierarchy.ident("/b") == 0
    assert hierarchy.ident("/") == tmp_path.stat().st_ino
    assert hierarchy.device == tmp_path.stat().st_dev


def test_a_mount_that_is_hidden_under_another_is_none(
    tmp_path: Path, mountinfo: list[str]
) -> None:
    mountinfo[0] = f"31 22 0:27 / {tmp_path}/unified rw - cgroup2 cgroup2 rw\n"
    assert MountedHierarchy().mount is None
    mountinfo[0] += f"32 22 0:27 / {tmp_path} rw - cgroup2 cgroup2 rw\n"
    assert MountedHierarchy().mount == Mount(str(tmp_path), "/")


def test_without_a_mount_there_is_a_root_and_nothing_has_a_number(
    mountinfo: list[str],
) -> None:
    mountinfo[0] = "22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw\n"
    hierarchy = MountedHierarchy()
    assert (hierarchy.mount, hierarchy.has_root, hierarchy.device) == (None, True, 0)
    assert hierarchy.ident("/") == hierarchy.ident("/a") == 0


# ---- processes ----


@pytest.fixture
def member() -> Iterator[Membership]:
    made = Membership(os.getpid())
    yield made
    made.close()


def test_a_process_is_looked_at_each_time(
    member: Membership, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = EpcCgroups()
    texts = [b"0::/a\n", b"0::/a\n", b"0::/b\n", b"1:x:/\n"]
    monkeypatch.setattr(os, "pread", lambda *_: texts.pop(0))
    found = [member.cgroup(tree) for _ in range(4)]
    assert [one.path for one in found] == ["/a", "/a", "/b", "/"]
    assert found[3] is tree.root


def test_a_cgroup_that_was_made_anew_is_found_though_it_reads_the_same(
    member: Membership, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = Tree()
    tree.make("/a")
    monkeypatch.setattr(os, "pread", lambda *_: b"0::/a\n")
    was = member.cgroup(tree.cgroups)
    tree.hierarchy.remove("/a")
    tree.make("/a")
    assert tree.cgroups.find("/a") is not was
    assert member.cgroup(tree.cgroups) is tree.cgroups.find("/a")


def test_this_process_is_where_proc_says(member: Membership) -> None:
    raw = Path("/proc/self/cgroup").read_bytes()
    assert member.cgroup(EpcCgroups()).path == unified_path(raw).replace("/..", "/")


def test_a_process_that_is_gone_stays_where_it_was() -> None:
    child = subprocess.Popen(["sleep", "60"])
    member = Membership(child.pid)
    tree = EpcCgroups()
    was = member.cgroup(tree)
    child.kill()
    child.wait()
    assert member.cgroup(tree) is was
    member.close()
    assert member.cgroup(tree) is was


def test_who_is_let_go_is_not_opened_again() -> None:
    one = Membership(os.getpid())
    known = EpcCgroups()
    before = len(list(Path("/proc/self/fd").iterdir()))
    found = one.cgroup(known)
    one.close()
    assert one.cgroup(known) is found
    assert len(list(Path("/proc/self/fd").iterdir())) == before
