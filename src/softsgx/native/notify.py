"""The filter's listener: system calls of the tree that wait for our answer.

See seccomp_unotify(2).
"""

import errno
import fcntl
import struct

RECV = 0xC0502100
_SEND = 0xC0182101
_ADDFD = 0x40182103
_SET_FLAGS = 0x40082104
_SYNC_WAKE_UP = 1
_ADDFD_SEND = 2
_CONTINUE = 1

NOTIF = struct.Struct("=QIIiIQ6Q")
_RESP = struct.Struct("=QqiI")
_FD = struct.Struct("=QIIII")
_EMPTY = bytes(NOTIF.size)


class Notification:
    """A thread that waits: its number, the system call it made, and from where."""

    __slots__ = ("args", "id", "ip", "nr", "tid")

    def __init__(self, fields: tuple[int, ...]) -> None:
        self.id, self.tid, _, self.nr, _, self.ip, *args = fields
        self.args = tuple(args)


class Listener:
    """The receiving end of the filter."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._buffer = bytearray(NOTIF.size)
        try:
            # Hand the processor over with the answer: ten times faster when idle.
            fcntl.ioctl(fd, _SET_FLAGS, _SYNC_WAKE_UP)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTTY):
                raise

    def receive(self) -> Notification | None:
        """Take the next call; None if it was withdrawn, or nobody can make one."""
        self._buffer[:] = _EMPTY
        try:
            fcntl.ioctl(self.fd, RECV, self._buffer)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINTR):
                return None
            raise
        return Notification(NOTIF.unpack(self._buffer))

    def answer(self, number: int, value: int, error: int = 0) -> None:
        """Return a value, or an errno, from the call."""
        self._send(_RESP.pack(number, value, -error, 0))

    def let_continue(self, number: int) -> None:
        """Let the kernel carry the call out."""
        self._send(_RESP.pack(number, 0, 0, _CONTINUE))

    def answer_fd(self, number: int, fd: int, flags: int) -> None:
        """Put a copy of our descriptor into the process and return its number."""
        request = _FD.pack(number, _ADDFD_SEND, fd, 0, flags)
        try:
            fcntl.ioctl(self.fd, _ADDFD, request)
        except OSError as error:
            if error.errno != errno.ENOENT:
                self.answer(number, 0, error.errno or errno.EIO)

    def _send(self, response: bytes) -> None:
        try:
            fcntl.ioctl(self.fd, _SEND, response)
        except OSError as error:
            # The thread was killed while it waited.
            if error.errno != errno.ENOENT:
                raise
