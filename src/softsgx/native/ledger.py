"""Calls that a listener gave out, written where somebody else can read them.

The kernel writes each call straight into memory that is shared with who lent us the
listener.  If we are killed, they find there what nobody will answer.
"""

import errno
import fcntl
import mmap
import os
import struct
from collections.abc import Iterator

from softsgx.native import lib
from softsgx.native.notify import NOTIF, RECV, Listener, Notification

_SLOTS = 256
"""More than the calls that wait for a crew's answers at a time."""
_DIRECT = 1025
"""Bytes of a buffer that Python lets the kernel write to, and not to a copy."""
_SIZE = _SLOTS * NOTIF.size + _DIRECT
_F_SEAL_FUTURE_WRITE = 0x10
_READ_ONLY = (
    fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL | _F_SEAL_FUTURE_WRITE
)
_ID = struct.Struct("=Q")


class NotedListener(Listener):
    """A listener with a ledger, *ledger_fd*, which others can only read."""

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        self.ledger_fd = os.memfd_create("softsgx ledger", os.MFD_CLOEXEC | 2)
        os.ftruncate(self.ledger_fd, _SIZE)
        self._memory = mmap.mmap(self.ledger_fd, _SIZE)
        fcntl.fcntl(self.ledger_fd, fcntl.F_ADD_SEALS, _READ_ONLY)
        self._view = memoryview(self._memory)
        self._next = 0

    def receive(self) -> Notification | None:
        """Take the next call; None if it was withdrawn, or nobody can make one."""
        at = self._free_slot()
        self._view[at : at + NOTIF.size] = bytes(NOTIF.size)
        try:
            fcntl.ioctl(self.fd, RECV, self._view[at : at + _DIRECT])
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINTR):
                return None
            raise
        return Notification(NOTIF.unpack_from(self._view, at))

    def _free_slot(self) -> int:
        """Return the place of a call that waits no more, or of none."""
        for _ in range(_SLOTS):
            at = self._next % _SLOTS * NOTIF.size
            self._next += 1
            (number,) = _ID.unpack_from(self._view, at)
            if not number or not lib.waits((self.fd, number)):
                return at
        raise OSError(errno.ENOBUFS, "too many calls wait")

    def close(self) -> None:
        """Give back the listener and the ledger."""
        self._view.release()
        self._memory.close()
        os.close(self.ledger_fd)
        os.close(self.fd)


def unanswered(ledger_fd: int, listener_fd: int) -> Iterator[Notification]:
    """Yield the calls in a ledger that wait still."""
    raw = os.pread(ledger_fd, _SLOTS * NOTIF.size, 0)
    for fields in NOTIF.iter_unpack(raw):
        if fields[0] and lib.waits((listener_fd, fields[0])):
            yield Notification(fields)


def is_listener(fd: int) -> bool:
    """Say whether a descriptor that somebody gave us is a filter's listener."""
    return os.readlink(f"/proc/self/fd/{fd}") == "anon_inode:seccomp notify"  # noqa: PTH115 -- no path
