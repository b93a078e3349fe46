"""Enclave memory whose supervisor is gone: as EPC pages are after a loss of power."""

import mmap
import os
from array import array
from collections.abc import Iterator

from softsgx.arch.addr import PAGE_SHIFT, PAGE_SIZE
from softsgx.native.memory import WORD_SIZE
from softsgx.native.numbers import WORD_LOST

_X = 1 << 2
"""Of an EPCM state word: code may run in the page."""
_ONES = b"\xff" * PAGE_SIZE
"""No instruction: a thread that is inside leaves at its next one."""


def lose_power(fd: int) -> bool:
    """Let nobody enter the enclave in a memfd any more, and who is inside leave it.

    False: there was none, it was opened and not created.
    """
    whole = os.fstat(fd).st_size
    if whole < PAGE_SIZE:
        return False
    with mmap.mmap(fd, whole) as memory:
        # What stands behind the pages is less than they are: its size is a power of 2.
        size = 1 << whole.bit_length() - 1
        count = size >> PAGE_SHIFT
        words = array("H", memory[size : size + count * WORD_SIZE])
        lost = array("H", [WORD_LOST]) * len(words)
        memory[size : size + count * WORD_SIZE] = lost.tobytes()
        for start, end in _filled(fd, size):
            for at in range(start, end, PAGE_SIZE):
                if words[at >> PAGE_SHIFT] & _X:
                    memory[at : at + PAGE_SIZE] = _ONES
    return True


def _filled(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges of a file, below *size*, that are no holes."""
    end = 0
    while end < size:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError:
            return
        end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        yield start & -PAGE_SIZE, end
