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
from softsgx.platform.files import open_lock

LOCK = "daemon.lock"

DATA, CONTROL = "data.sock", "control.sock"
KINDS = {DATA: socket.SOCK_SEQPACKET, CONTROL: socket.SOCK_STREAM}
"""The sockets by their names, and what they are."""

ALL = "all"
"""In place of a group: everybody."""

_BACKLOG = 128


def connect(directory: Path, name: str) -> socket.socket | None:
    """Connect to a platform's daemon; None: there is none.  OSError says why not."""
    sock = socket.socket(socket.AF_UNIX, KINDS[name])
    try:
        with _short(directory) as place:
            sock.connect(f"{place}/{name}")
    except OSError as error:
        sock.close()
        # A socket that nobody listens on is what a daemon that was killed left.
        if error.errno in (errno.ENOENT, errno.ECONNREFUSED, errno.ENOTDIR):
            return None
        raise OSError(error.errno, error.strerror, str(directory / name)) from error
    return sock


def listen(directory: Path, name: str) -> socket.socket:
    """Make a socket of the daemon's, for its owner alone; PlatformError."""
    sock = socket.socket(socket.AF_UNIX, KINDS[name])
    try:
        with _short(directory) as place:
            path = Path(place, name)
            path.unlink(missing_ok=True)
            sock.bind(str(path))
            path.chmod(0o600)
        sock.listen(_BACKLOG)
    except OSError as error:
        sock.close()
        raise PlatformError(f"{directory / name}: {error.strerror}") from error
    return sock


def let_in(directory: Path, group: str) -> None:
    """Let a group attach, or `all`: to the socket, and on the way there; PlatformError.

    What else is in the directory they cannot write, and the secrets not read.
    """
    gid = -1
    if group != ALL:
        try:
            gid = grp.getgrnam(group).gr_gid
        except KeyError as error:
            raise PlatformError(f"{group}: no such group") from error
    path, bits = directory / DATA, (0o006, 0o001) if gid < 0 else (0o060, 0o010)
    try:
        for place, more in zip((path, directory), bits, strict=True):
            if gid >= 0:
                os.chown(place, -1, gid)
            place.chmod(place.stat().st_mode & 0o777 | more)
    except OSError as error:
        raise PlatformError(f"{error.filename}: {error.strerror}") from error


class Ownership:
    """The lock that makes a process the one daemon of a platform; PlatformError."""

    def __init__(self, directory: Path) -> None:
        self._fd = open_lock(directory / LOCK)
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


@contextmanager
def _short(directory: Path) -> Iterator[str]:
    """Give a directory a name that fits a socket's address, 107 bytes."""
    fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)
