"""Who asks the daemon something is told by the kernel, when he connects."""

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from softsgx.platform.audit import Who
from softsgx.runner.task.threads import has_ended
from softsgx.service import control
from softsgx.service.channel import pidfd_of
from tests.runner.children import forked


@pytest.fixture
def listening(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "s"))
        sock.listen()
        yield sock


@contextmanager
def client(listening: socket.socket) -> Iterator[tuple[int, socket.socket]]:
    """Have a child connect; give its pid and our end."""
    with (
        forked(lambda: connected(listening).detach()) as pid,
        listening.accept()[0] as sock,
    ):
        yield pid, sock


def connected(listening: socket.socket) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(listening.getsockname())
    return sock


def test_it_is_who_connected(listening: socket.socket) -> None:
    with client(listening) as (pid, sock):
        asker = control._asker(sock)
        exe = os.readlink(f"/proc/{pid}/exe")  # noqa: PTH115 -- as the log has it
        assert (asker.pid, asker.uid) == (pid, os.geteuid())
        assert asker.who == Who.of(pid)
        assert asker.who.exe == exe


def test_of_who_is_gone_the_kernels_word_is_left(listening: socket.socket) -> None:
    with forked(lambda: connected(listening).detach()) as pid:
        sock = listening.accept()[0]
    with sock:
        asker = control._asker(sock)
    assert asker.who == Who(pid=pid, uid=os.geteuid(), exe="", cgroup="")


def test_a_number_that_is_another_process_by_now_is_not_believed(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def of(pid: int) -> Who:
        """Be what is read of him, while he ends."""
        seen.append(pid)
        os.kill(pid, signal.SIGKILL)
        assert is_over_soon(sock)
        return Who(pid=pid, uid=0, exe="/bin/other", cgroup="/other")

    with client(listening) as (pid, sock):
        monkeypatch.setattr(Who, "of", of)
        asker = control._asker(sock)
    assert seen == [pid]
    assert (asker.who.exe, asker.who.uid) == ("", os.geteuid())


def is_over_soon(sock: socket.socket) -> bool:
    pidfd = pidfd_of(sock)
    try:
        while not has_ended(pidfd):
            pass
    finally:
        os.close(pidfd)
    return True
