"""Files of ours that a program writes: how it has them open, and the calls."""

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from struct import Struct

from softsgx.native.memory import SharedMemory
from softsgx.runner.answers import NOT_OURS
from softsgx.runner.task.marks import mark_memory
from softsgx.runner.task.process import UserTask

WRITE, PWRITE, WRITEV = 1, 18, 20
"""Numbers of the system calls, as syscalls(2) has them."""

_IOVEC = Struct("<QQ")
_MOST_VECTORS = 1024

Piece = tuple[int, int]
"""An address and a number of bytes."""


def open_sealed(
    path: str, text: bytes, permissions: int, access: int
) -> tuple[SharedMemory, int]:
    """Open a file of ours: what is there now, sealed, and a descriptor of it; OSError.

    *access* is O_RDONLY, O_WRONLY or O_RDWR.
    """
    memory = SharedMemory(mark_memory(path))
    try:
        memory.seal(text, permissions)
        return memory, memory.reopen(access)
    except OSError:
        memory.close()
        raise


@contextmanager
def taken(task: UserTask, number: int) -> Iterator[tuple[int, tuple[int, int], int]]:
    """Have a descriptor of a task's: ours for it, its device and inode, its access.

    OSError(NOT_OURS): it is not open.
    """
    try:
        fd = task.caller.take_fd(number)
    except OSError as error:
        raise OSError(NOT_OURS, "not open") from error
    try:
        status = os.fstat(fd)
        access = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE
        yield fd, (status.st_dev, status.st_ino), access
    finally:
        os.close(fd)


def pieces_of(task: UserTask, number: int, args: tuple[int, ...]) -> list[Piece]:
    """Return what a call writes; OSError(EINVAL, EFAULT)."""
    if number != WRITEV:
        return [(args[1], args[2])]
    if args[2] > _MOST_VECTORS:
        raise OSError(errno.EINVAL, "too many pieces")
    size = args[2] * _IOVEC.size
    raw = task.copy_from_user(args[1], size) if size else b""
    return list(_IOVEC.iter_unpack(raw))
