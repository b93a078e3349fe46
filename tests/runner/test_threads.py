"""What /proc says of threads, which programs may give any name."""

import ctypes
import mmap
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from softsgx.runner.newborns import _made_at
from softsgx.runner.task.mappings import mappings
from softsgx.runner.task.threads import is_signalled, parent_of, pid_of, tracer_of
from softsgx.runner.vfs.credentials import Credentials
from tests.conformance.run import SOFTSGX, run

ME = os.getpid()
_PR_SET_NAME, _PR_GET_NAME = 15, 16
NAMES = (
    b"\xff\xfe",
    b"\x0bTgid:\t1",
    b"\rTgid:\t1",
    b"\rTracerPid:\t1",
    b"\x1cUid:\t7 7 7 7",
    b") R 1 1",
    b"\nTgid:\t1",
)


@pytest.fixture(params=NAMES, ids=repr)
def named(request: pytest.FixtureRequest) -> Iterator[bytes]:
    """Give this thread a name."""
    libc = ctypes.CDLL(None)
    before = ctypes.create_string_buffer(16)
    libc.prctl(_PR_GET_NAME, before)
    libc.prctl(_PR_SET_NAME, request.param)
    yield request.param
    libc.prctl(_PR_SET_NAME, before)


@pytest.mark.usefixtures("named")
def test_a_threads_name_says_nothing_about_it() -> None:
    assert pid_of(ME) == ME
    assert tracer_of(ME) == 0
    assert parent_of(ME) == os.getppid()
    assert Credentials.of(ME).uid == os.geteuid()
    assert _made_at(ME) > 0


@pytest.mark.usefixtures("named")
def test_a_signal_that_nothing_would_come_of_does_not_wait() -> None:
    """In a process with one thread: nobody else may take the signals."""
    if (child := os.fork()) == 0:
        code = 1
        try:
            _wait_for_signals(os.getpid())
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0


def _wait_for_signals(me: int) -> None:
    sent = {signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, sent)
    signal.signal(signal.SIGUSR1, lambda _signo, _frame: None)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    usr1 = 1 << (signal.SIGUSR1 - 1)
    for one in (signal.SIGUSR2, signal.SIGCHLD):
        os.kill(me, one)
        assert not is_signalled(me, 0)
    os.kill(me, signal.SIGUSR1)
    assert is_signalled(me, 0)
    assert not is_signalled(me, usr1)
    signal.sigtimedwait({signal.SIGUSR1}, 0)
    signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
    assert is_signalled(me, ~usr1)


@pytest.mark.runner
def test_a_program_with_any_name_finds_the_device(tmp_path: Path) -> None:
    script = f"""
import ctypes, os
for name in {NAMES!r}:
    ctypes.CDLL(None).prctl({_PR_SET_NAME}, name)
    os.close(os.open("/dev/sgx_enclave", os.O_RDWR))
    if os.fork() == 0:
        os.execv("/bin/true", [name])
    os.wait()
"""
    done = run([SOFTSGX, "run", "--", sys.executable, "-c", script], tmp_path)
    assert (done.code, done.stderr) == (0, "")


def test_a_mapped_files_name_ends_no_line(tmp_path: Path) -> None:
    for name in ("a\x0bb", "a\rb", "a\x85b", "a\u2028b", "a\nb"):
        path = tmp_path / name
        with path.open("w+b") as file:
            file.write(bytes(4096))
            file.flush()
            with mmap.mmap(file.fileno(), 4096):
                paths = {one.path for one in mappings(ME)}
        assert str(path).replace("\n", "\\012") in paths
