"""Who has whose memory: fork copies, vfork shares, an end is an end."""

import errno
import mmap
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from softsgx.driver.driver import Driver
from softsgx.driver.encl import Encl
from softsgx.driver.mm import Vma
from softsgx.native import lib
from softsgx.native.pulse import Pulse
from softsgx.runner import tree
from softsgx.runner.insiders import Insiders
from softsgx.runner.loop import Loop
from softsgx.runner.task.caller import Caller
from softsgx.runner.task.files import Files
from softsgx.runner.task.mappings import mappings
from softsgx.runner.tree import Tree
from tests.runner.children import forked
from tests.support import make_machine

PAGE = 4096
RW = 3


class Grove:
    """A tree whose first process is this one."""

    def __init__(self) -> None:
        driver = Driver(make_machine())
        self.files = Files(driver)
        self.loop = Loop(last=-1)
        self.tree = Tree(driver, self.files, self.loop, Insiders(driver))
        self.me = self.tree.of(Caller(os.getpid()))

    def turn(self, timeout_ms: int) -> None:
        """Wait once, and do what is due."""
        due = self.loop.wait(Pulse(), timeout_ms)
        for fd in due.fds:
            self.loop.do(fd, due.call)

    @contextmanager
    def enclave(self, pages: int = 2) -> Iterator[tuple[Encl, int]]:
        """Map an enclave's file natively, and have the tree know of it."""
        fd = self.files.open_enclave(os.O_RDWR)
        encl = self.files.find(Caller(os.getpid()), fd)
        assert isinstance(encl, Encl)
        memory = self.files.open_memory(encl)
        os.ftruncate(memory, pages * PAGE)
        held = mmap.mmap(memory, pages * PAGE, mmap.MAP_SHARED, mmap.PROT_READ)
        inode = os.fstat(memory).st_ino
        os.close(memory)
        start = next(m.start for m in mappings(os.getpid()) if m.inode == inode)
        self.me.mm.add(Vma(start, start + pages * PAGE, RW, encl, 7))
        try:
            yield encl, start
        finally:
            held.close()
            os.close(fd)


@pytest.fixture
def grove() -> Grove:
    return Grove()


def test_threads_are_of_their_process(grove: Grove) -> None:
    seen = []
    thread = threading.Thread(
        target=lambda: seen.append(grove.tree.of(Caller(threading.get_native_id())))
    )
    thread.start()
    thread.join()
    assert seen == [grove.me]


def test_who_is_gone_is_not_found(grove: Grove) -> None:
    with pytest.raises(OSError, match="gone") as caught:
        grove.tree.of(Caller(1 << 22))
    assert caught.value.errno == errno.ESRCH


def test_a_child_of_fork_has_a_copy(grove: Grove) -> None:
    with grove.enclave() as (encl, start), forked() as pid:
        grove.me.sites[5] = 1
        grove.tree.forked(Caller(pid), os.getpid())
        child = grove.tree.of(Caller(pid))
        assert child is not grove.me
        (vma,) = child.mm.vmas
        assert (vma.start, vma.end, vma.encl) == (start, start + 2 * PAGE, encl)
        child.mm.remove(start, start + PAGE)
        child.sites[6] = 2
        assert (len(grove.me.mm.vmas), grove.me.sites) == (1, {5: 1})
        assert grove.me.mm.vmas[0].start == start


def test_a_child_gets_no_mapping_that_it_has_not(grove: Grove) -> None:
    with grove.enclave() as (encl, start):
        grove.me.mm.add(Vma(0x1000, 0x2000, RW, encl, 7))
        with forked() as pid:
            grove.tree.forked(Caller(pid), os.getpid())
            assert [vma.start for vma in grove.tree.of(Caller(pid)).mm.vmas] == [start]


def test_a_stranger_cannot_say_it_is_our_child(grove: Grove) -> None:
    with grove.enclave(), subprocess.Popen(["sleep", "1000"]) as stranger:
        grove.tree.forked(Caller(stranger.pid), os.getpid())
        assert grove.tree.of(Caller(stranger.pid)).mm.vmas == []
        stranger.kill()


def test_who_is_known_cannot_say_that_it_was_forked(grove: Grove) -> None:
    with grove.enclave():
        with pytest.raises(OSError, match="known already"):
            grove.tree.forked(Caller(os.getpid()), os.getppid())
        assert len(grove.me.mm.vmas) == 1


def test_a_grandchild_finds_what_a_dead_parent_had(grove: Grove) -> None:
    with grove.enclave() as (_, start), forked() as pid:
        with forked() as other:
            grove.tree.forked(Caller(other), os.getpid())
            assert grove.tree.of(Caller(other)).mm.vmas
        grove.turn(1000)
        # The dead one's number is what the other remembers as its parent.
        grove.me.mm.clear()
        grove.tree.forked(Caller(pid), other)
        assert [vma.start for vma in grove.tree.of(Caller(pid)).mm.vmas] == [start]


def test_an_end_frees_the_address_space(grove: Grove) -> None:
    with grove.enclave() as (encl, _):
        with forked() as pid:
            grove.tree.forked(Caller(pid), os.getpid())
            assert encl.vma_count == 2
        grove.turn(1000)
        assert encl.vma_count == 1
        grove.tree.forget_enclave(encl)
        assert grove.tree._heritage == {}


def test_a_number_that_is_used_again_is_another_process(grove: Grove) -> None:
    with forked() as pid:
        grove.tree.forked(Caller(pid), os.getpid())
        first = grove.tree.of(Caller(pid))
    # Its end waits to be heard of; a child with its number comes before.
    fd = grove.tree._pidfds[pid]
    with forked() as other:
        grove.tree._processes[other] = grove.tree._processes.pop(pid)
        grove.tree._pidfds[other] = grove.tree._pidfds.pop(pid)
        grove.loop.forget(fd)
        grove.loop.on_readable(fd, lambda: grove.tree._ended(other))
        grove.tree.forked(Caller(other), os.getpid())
        assert grove.tree.of(Caller(other)) is not first
        grove.turn(0)
        assert grove.tree.of(Caller(other)) is grove.tree._processes[other]


VFORK = """
#include <stdio.h>
#include <unistd.h>

int main(void)
{
	char byte;

	if (vfork() == 0) {
		dprintf(1, "%d\\n", getpid());
		read(0, &byte, 1);
		execlp("cat", "cat", (char *)0);
	}
	return 0;
}
"""


def test_a_child_of_vfork_shares_until_it_executes(
    grove: Grove, tmp_path: Path
) -> None:
    (tmp_path / "vfork.c").write_text(VFORK)
    command = ["gcc", "-w", "-o", str(tmp_path / "vfork"), str(tmp_path / "vfork.c")]
    subprocess.run(command, check=True)
    pipe = subprocess.PIPE
    with subprocess.Popen([tmp_path / "vfork"], stdin=pipe, stdout=pipe) as parent:
        assert parent.stdout is not None
        first = grove.tree.of(Caller(parent.pid))
        child = int(parent.stdout.readline())
        assert grove.tree.of(Caller(child)) is first
        assert parent.stdin is not None
        parent.stdin.write(b"go\nexecuted\n")
        parent.stdin.flush()
        assert parent.stdout.readline() == b"o\n"
        grove.tree.executed(child)
        fresh = grove.tree.of(Caller(child))
        assert fresh is not first
        assert grove.tree.of(Caller(parent.pid)) is first
        assert (first.pid, fresh.pid) == (parent.pid, child)


def test_who_shares_memory_is_not_sought_among_all(
    grove: Grove, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(lib, "same_memory", lambda *_: asked.append(1))
    with ExitStack() as crowd:
        for _ in range(30):
            command, pipe = ["sh", "-c", "echo; read end"], subprocess.PIPE
            one = subprocess.Popen(command, stdin=pipe, stdout=pipe)
            crowd.enter_context(one)
            assert one.stdout
            one.stdout.readline()
            grove.tree.of(Caller(one.pid))
    # Who has the same parent is not asked; by chance two may look alike.
    assert len(asked) < 30 + 3


def test_of_processes_that_ended_the_last_are_remembered(
    grove: Grove, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tree, "_LATE_PARENTS", 3)
    with grove.enclave():
        ended = []
        for _ in range(5):
            with forked() as pid:
                ended.append(grove.tree.forked(Caller(pid), os.getpid()))
            grove.turn(1000)
        assert list(grove.tree._heritage) == ended[-3:]


def test_an_execve_closes_no_watch_twice(grove: Grove) -> None:
    with forked() as pid:
        grove.tree.forked(Caller(pid), os.getpid())
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 -- a count
        for _ in range(5):
            grove.tree.executed(pid)
            grove.tree.of(Caller(pid))
        assert len(os.listdir("/proc/self/fd")) == before  # noqa: PTH208 -- a count
    grove.turn(1000)
    with pytest.raises(OSError, match="gone"):
        grove.tree.of(Caller(pid))


def test_at_the_end_of_a_tree_nothing_is_left_open(grove: Grove) -> None:
    name = f"/proc/{os.getpid()}/cgroup"
    grove.me.membership.cgroup(grove.tree._driver.cgroups)
    assert name in opened()
    grove.tree.end()
    assert name not in opened()


def opened() -> list[str]:
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.append(str(link.readlink()))
    return found
