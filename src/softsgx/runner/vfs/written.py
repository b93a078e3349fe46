"""The system calls by which a program writes to a file of ours, and what they write."""

import errno
from struct import Struct

from softsgx.runner.task.process import UserTask

WRITE, PWRITE, WRITEV = 1, 18, 20
"""Numbers of the system calls, as syscalls(2) has them."""

_IOVEC = Struct("<QQ")
_MOST_VECTORS = 1024

Piece = tuple[int, int]
"""An address and a number of bytes."""


def pieces_of(task: UserTask, number: int, args: tuple[int, ...]) -> list[Piece]:
    """Return what a call writes; OSError(EINVAL, EFAULT)."""
    if number != WRITEV:
        return [(args[1], args[2])]
    if args[2] > _MOST_VECTORS:
        raise OSError(errno.EINVAL, "too many pieces")
    size = args[2] * _IOVEC.size
    raw = task.copy_from_user(args[1], size) if size else b""
    return list(_IOVEC.iter_unpack(raw))
