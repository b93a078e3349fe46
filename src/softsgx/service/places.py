"""Where a daemon is found: two sockets and a lock in its platform's directory."""

import errno
import fcntl
import grp
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from softsgx.platform.errors import PlatformError
from softsgx.service.channel import Channel

DATA = "data.sock"
CONTROL = "control.sock"
LOCK = "daemon.lock"

_BACKLOG = 128
_FIRST_PASSED = 3


def connect(directory: Path, name: str) -> Channel | None:
    """Connect to a platform's daemon; None: there is none.  OSError says why not."""
    sock = _socket()
    try:
        with _short(directory) as place:
            sock.connect(f"{place}/{name}")
    except OSError as error:
        sock.close()
        # A socket that nobody listens on is what a daemon that was killed left.
        if error.errno in (errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR):
            return None
        raise
    return Channel(sock)


def listen(directory: Path, name: str, group: str | None) -> socket.socket:
    """Make a socket of the daemon's, for its owner, or for a group or `all` too."""
    sock = _socket()
    try:
        with _short(directory) as place:
            (Path(place) / name).unlink(missing_ok=True)
            sock.bind(f"{place}/{name}")
            _open_to(Path(place) / name, group)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise PlatformError(f"{directory / name}: {error.strerror}") from error
    return sock


def _open_to(path: Path, group: str | None) -> None:
    path.chmod(0o600)
    if group is None:
        return
    if group == "all":
        path.chmod(0o666)
        return
    try:
        number = grp.getgrnam(group).gr_gid
    except KeyError as error:
        raise PlatformError(f"{group}: no such group") from error
    os.chown(path, -1, number)
    path.chmod(0o660)


def passed() -> dict[str, socket.socket]:
    """Return the sockets that systemd opened for us, by their names."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return {}
    count = int(os.environ.get("LISTEN_FDS", "0"))
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    fds = range(_FIRST_PASSED, _FIRST_PASSED + count)
    for fd in fds:
        os.set_inheritable(fd, False)  # noqa: FBT003 -- its own signature
    return {
        name: socket.socket(fileno=fd) for name, fd in zip(names, fds, strict=False)
    }


def tell_manager(state: str) -> None:
    """Tell systemd, if it asked to be told: READY=1, STOPPING=1."""
    place = os.environ.get("NOTIFY_SOCKET")
    if not place:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(state.encode(), place.replace("@", "\0", 1))


class Ownership:
    """The lock that makes a process the one daemon of a platform."""

    def __init__(self, directory: Path) -> None:
        path = directory / LOCK
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        try:
            self._fd = os.open(path, flags, 0o600)
        except OSError as error:
            raise PlatformError(f"{path}: {error.strerror}") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            other = os.read(self._fd, 32).decode(errors="replace").strip()
            os.close(self._fd)
            who = f" (pid {other})" if other else ""
            message = f"{directory}: a daemon serves this platform already{who}"
            raise PlatformError(message) from error
        os.truncate(self._fd, 0)
        os.write(self._fd, f"{os.getpid()}\n".encode())

    def give_up(self) -> None:
        """Let another daemon have it."""
        os.close(self._fd)


def _socket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)


@contextmanager
def _short(directory: Path) -> Iterator[str]:
    """Give a directory a name that fits a socket's address, 107 bytes."""
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)
