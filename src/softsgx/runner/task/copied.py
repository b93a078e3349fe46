"""A thread's ordinary memory while a leaf executes: what was copied before.

A leaf is one step for everybody else, and a program can make a copy of its memory
take as long as it likes.  So a leaf that looks at memory not copied yet is given up,
the memory is copied while others have their turn, and the leaf is executed anew.
"""

import errno

from softsgx.runner.task.process import UserTask


class LookFirst(BaseException):
    """The leaf needs memory that was not looked at: an address and a size in bytes."""

    def __init__(self, address: int, size: int):
        super().__init__(address, size)
        self.place = address, size


class CopiedMemory:
    """What `UserLinear` asks of a task: memory as it was when it was copied."""

    def __init__(self, task: UserTask):
        self._task = task
        self._copies: dict[tuple[int, int], bytes | OSError] = {}

    def look(self, first: LookFirst) -> None:
        """Copy what a leaf needs; that it cannot be read is for the leaf to judge."""
        try:
            self._copies[first.place] = self._task.copy_from_user(*first.place)
        except OSError as error:
            self._copies[first.place] = error

    def copy_from_user(self, addr: int, size: int) -> bytes:
        """Return what was copied; OSError(EFAULT)."""
        found = self._copies.get((addr, size))
        if found is None:
            raise LookFirst(addr, size)
        if isinstance(found, OSError):
            raise found
        return found

    def copy_to_user(self, addr: int, data: bytes) -> None:
        """Refuse: no leaf of ENCLU writes to ordinary memory."""
        del addr, data
        raise OSError(errno.EFAULT, "not an enclave's")
