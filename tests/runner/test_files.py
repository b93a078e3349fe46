"""An enclave is released when nobody has its file any more, and not before."""

import errno
import fcntl
import mmap
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from softsgx.cli.run import not_started
from softsgx.driver import uapi
from softsgx.driver.driver import Driver
from softsgx.driver.encl import Encl
from softsgx.native.memory import SharedMemory, Watch
from softsgx.runner.task.caller import Caller
from softsgx.runner.task.files import Files
from tests.driver.fakes import ARGS, SCRATCH, FakeTask, secs
from tests.driver.invariants import assert_sound
from tests.support import make_machine

PAGE = 4096
PATIENCE_S = 120.0


@pytest.fixture
def files() -> Files:
    return Files(Driver(make_machine()))


def released(files: Files) -> bool:
    """Ask as the supervisor does: at once, and again while it is told to."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if files.release_gone():
            return True
        pause = files.watch.recheck_ms
        if pause is None:
            return False
        time.sleep(pause / 1000)
    return False


def file_of(files: Files, fd: int) -> Encl:
    found = files.find(Caller(os.getpid()), fd)
    assert isinstance(found, Encl)
    return found


def test_a_close_releases(files: Files) -> None:
    fd = files.open_enclave(os.O_RDWR)
    assert not released(files)
    os.close(fd)
    assert released(files)
    assert not released(files)


def test_each_open_is_an_enclave_of_its_own(files: Files) -> None:
    one, other = (files.open_enclave(os.O_RDWR) for _ in range(2))
    first, second = file_of(files, one), file_of(files, other)
    assert first is not second
    os.close(one)
    assert files.release_gone() == [first]
    assert file_of(files, other) is second
    os.close(other)


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY, os.O_RDWR])
def test_a_copy_of_the_descriptor_keeps_it(files: Files, flags: int) -> None:
    fd = files.open_enclave(flags)
    copy = os.dup(fd)
    os.close(fd)
    assert not released(files)
    os.close(copy)
    assert released(files)


def test_opens_of_the_file_that_look_alike_are_counted_each(files: Files) -> None:
    fd = files.open_enclave(os.O_RDWR)
    others = [os.open(f"/proc/self/fd/{fd}", os.O_RDWR) for _ in range(2)]
    os.close(fd)
    for other in others:
        assert not released(files)
        os.close(other)
    assert released(files)


def test_a_mapping_keeps_it(files: Files) -> None:
    fd = files.open_enclave(os.O_RDWR)
    memory = files.open_memory(file_of(files, fd))
    os.ftruncate(memory, PAGE)
    held = mmap.mmap(memory, PAGE, mmap.MAP_SHARED, mmap.PROT_READ)
    os.close(memory)
    os.close(fd)
    assert not released(files)
    held.close()
    assert released(files)


def test_without_a_mapping_the_descriptor_keeps_it(files: Files) -> None:
    fd = files.open_enclave(os.O_RDWR)
    memory = files.open_memory(file_of(files, fd))
    os.close(memory)
    assert not released(files)
    again = files.open_memory(file_of(files, fd))
    os.close(fd)
    assert not released(files)
    os.close(again)
    assert released(files)


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_WRONLY, os.O_RDWR])
def test_the_programs_descriptor_leads_to_no_memory(flags: int) -> None:
    driver = Driver(make_machine())
    files = Files(driver)
    fd = files.open_enclave(flags)
    encl = file_of(files, fd)
    create(driver, encl)
    memory, door = files.open_memory(encl), os.open(f"/proc/self/fd/{fd}", os.O_RDWR)
    assert os.fstat(memory).st_size > os.fstat(door).st_size == 0
    for change in (lambda: os.write(door, b"x"), lambda: os.ftruncate(door, PAGE)):
        with pytest.raises(PermissionError):
            change()
    for number in (fd, memory, door):
        os.close(number)
    assert released(files)


def test_a_descriptor_on_its_way_keeps_it(files: Files) -> None:
    fd = files.open_enclave(os.O_RDWR)
    here, there = socket.socketpair()
    with here, there:
        socket.send_fds(here, [b"x"], [fd])
        os.close(fd)
        assert not released(files)
        _, (arrived,), _, _ = socket.recv_fds(there, 1, 1)
    assert not released(files)
    os.close(arrived)
    assert released(files)


def test_a_descriptor_that_never_arrives_does_not(files: Files) -> None:
    fd = files.open_enclave(os.O_RDWR)
    here, there = socket.socketpair()
    socket.send_fds(here, [b"x"], [fd])
    os.close(fd)
    here.close()
    assert not released(files)
    there.close()
    assert released(files)


@pytest.fixture
def child() -> Iterator[list["subprocess.Popen[bytes]"]]:
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize("signo", [signal.SIGTERM, signal.SIGKILL])
def test_a_process_keeps_it_through_execve_until_its_end(
    files: Files, child: list["subprocess.Popen[bytes]"], signo: signal.Signals
) -> None:
    fd = files.open_enclave(os.O_RDWR)
    child.append(subprocess.Popen(["sleep", "1000"], pass_fds=[fd]))
    os.close(fd)
    assert not released(files)
    assert isinstance(files.find(Caller(child[0].pid), fd), Encl)
    child[0].send_signal(signo)
    child[0].wait()
    assert released(files)


def test_an_execve_ends_what_is_closed_on_it(
    files: Files, child: list["subprocess.Popen[bytes]"]
) -> None:
    fd = files.open_enclave(os.O_RDWR)
    child.append(subprocess.Popen(["sleep", "1000"]))
    os.close(fd)
    assert released(files)


def test_a_path_alone_keeps_nothing(files: Files) -> None:
    fd = files.open_enclave(os.O_RDWR)
    path = os.open(f"/proc/self/fd/{fd}", os.O_PATH)
    os.close(fd)
    assert released(files)
    back = os.open(f"/proc/self/fd/{path}", os.O_RDWR)
    assert not isinstance(files.find(Caller(os.getpid()), back), Encl)
    os.close(back)
    os.close(path)


def test_what_is_not_open_and_what_is_not_ours(files: Files) -> None:
    fd = files.open_provision(os.O_RDONLY)
    pipe = os.pipe()
    assert files.find(Caller(os.getpid()), 9999) is None
    assert files.find(Caller(1 << 22), fd) is None
    assert not isinstance(files.find(Caller(os.getpid()), pipe[0]), Encl)
    assert files.find(Caller(os.getpid()), pipe[0]) is not None
    assert files.enclave(os.fstat(fd).st_ino) is None
    for number in (fd, *pipe):
        os.close(number)
    assert not released(files)


def create(driver: Driver, encl: Encl) -> None:
    task = FakeTask()
    task.add(SCRATCH, bytes(secs()))
    task.add(ARGS, bytes(uapi.sgx_enclave_create(src=SCRATCH)))
    assert driver.ioctl(encl, task, uapi.SGX_IOC_ENCLAVE_CREATE, ARGS) == 0


def test_all_of_the_epc_comes_back() -> None:
    driver = Driver(make_machine(pages=64))
    files = Files(driver)
    free = driver.section.free
    for _ in range(20):
        fd = files.open_enclave(os.O_RDWR)
        create(driver, file_of(files, fd))
        assert driver.section.free < free
        assert_sound(driver)
        os.close(fd)
        assert released(files)
        assert driver.section.free == free
    assert_sound(driver)


def test_one_program_cannot_have_all_descriptors_of_ours(
    files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (12, 12))
    fds = [files.open_enclave(os.O_RDWR) for _ in range(3)]
    with pytest.raises(OSError, match="too many") as refused:
        files.open_provision(os.O_RDONLY)
    assert refused.value.errno == errno.ENFILE
    for fd in fds:
        os.close(fd)
    assert released(files)


def test_memory_that_could_not_be_mapped_is_tried_again() -> None:
    memory = SharedMemory("enclave")
    fd = memory.reopen(os.O_RDWR)
    with pytest.raises(OSError, match="Cannot allocate"):
        memory.resize(1 << 47)
    memory.resize(16 * PAGE)
    assert len(memory.view()) == 16 * PAGE
    os.close(fd)
    memory.close()


def test_without_inotify_the_user_reads_which_limit_to_raise() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    Watch()  # what it needs of the C library is loaded
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(OSError, match="max_user_instances") as raised:
            Watch()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    failure = not_started("prog", raised.value)
    assert raised.value.errno == errno.EMFILE
    assert str(failure) == (
        "prog: too many open files or inotify instances: raise the sysctl "
        "fs.inotify.max_user_instances, of which each run takes one, or `ulimit -n` "
        "(see `softsgx doctor`)"
    )


def test_lost_news_make_every_file_suspect() -> None:
    watch = Watch()
    memories = [SharedMemory("memory") for _ in range(3)]
    fds = [memory.reopen(os.O_RDWR) for memory in memories]
    for memory in memories:
        watch.add(memory)
    for fd in fds[:2]:
        os.close(fd)
    # What was queued is thrown away, and an overflow takes its place.
    os.read(watch.fd, 1 << 16)
    assert watch.gone() == []
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    for _ in range(limit // 2 + 2):
        first, second = (memories[n].reopen(os.O_RDONLY) for n in (0, 2))
        os.close(first)
        os.close(second)
    gone: list[SharedMemory] = []
    while watch.recheck_ms or not gone:
        fresh = watch.gone()
        gone += fresh
        if not fresh and len(gone) == 2:
            break
    assert {memory.inode for memory in gone} == {m.inode for m in memories[:2]}
    os.close(fds[2])


def test_a_program_cannot_cut_enclave_memory() -> None:
    memory = SharedMemory("memory")
    fd = memory.reopen(os.O_RDWR)
    memory.resize(16 * PAGE)
    for size in (0, 1 << 30):
        with pytest.raises(PermissionError):
            os.ftruncate(fd, size)
    with pytest.raises(PermissionError):
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    os.pwrite(fd, b"x", 0)
    assert memory.view()[0] == ord("x")
    memory.zap(0, PAGE)
    assert memory.view()[0] == 0
    memory.publish(1, b"\x43\x02")
    assert os.pread(fd, 2, 16 * PAGE + 2) == b"\x43\x02"
    os.close(fd)
    memory.close()


def test_an_open_while_it_is_judged_sends_no_signal() -> None:
    memory = SharedMemory("memory")
    fcntl.fcntl(memory.fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    with pytest.raises(BlockingIOError):
        os.open(f"/proc/self/fd/{memory.fd}", os.O_RDWR | os.O_NONBLOCK)
    fcntl.fcntl(memory.fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    assert memory.is_alone()
    memory.close()


def test_a_new_era_is_the_next_number_whatever_a_program_wrote_there() -> None:
    memory = SharedMemory("memory")
    memory.resize(2 * PAGE)
    try:
        seen = []
        for found in (0, 1, (1 << 32) - 1):
            at = memory._tallies + 32
            memory._view[at : at + 4] = found.to_bytes(4, "little")
            memory.new_era()
            seen.append(memory.tally(0)[4])
        assert seen == [1, 2, 0]
        assert memory.tally(0)[:4] == memory.tally(1)[:4] == (0, 0, 0, 0)
    finally:
        memory.close()
