"""Files that evicted pages go to."""

import errno
import os
from collections.abc import Iterator, Sequence

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.pageinfo import Pcmd

Data = bytes | memoryview
Image = tuple[Data, Data]
"""What is kept of a page: its ciphertext, 4096 bytes, and its PCMD, 128."""

Place = tuple[int, int]
"""Where in a file the first of some pages is, and its PCMD; others are behind them."""


class BackingStore:
    """A file for evicted pages, by a descriptor that is ours from now on."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._kept: dict[Place, Image] = {}
        """What could not be written yet."""

    def reserve(self) -> None:
        """See that all is written; OSError: the file takes no more."""
        for place, image in list(self._kept.items()):
            self._write(place, [image])
            del self._kept[place]

    def write(self, place: Place, images: Sequence[Image]) -> None:
        """Write pages; what there is no room for stays in our memory."""
        for one in places(place, len(images)):
            self._kept.pop(one, None)
        try:
            self._write(place, images)
        except OSError:
            self._kept.update(zip(places(place, len(images)), images, strict=True))

    def read(self, place: Place, count: int) -> list[Image]:
        """Read pages; zeros where the file ends."""
        found = self._read(place, count)
        if not self._kept:
            return found
        kept = (self._kept.get(one) for one in places(place, count))
        return [mine or its for mine, its in zip(kept, found, strict=True)]

    def close(self) -> None:
        """Let go of it."""
        os.close(self._fd)

    def _write(self, place: Place, images: Sequence[Image]) -> None:
        contents, pcmds = place
        write_all(self._fd, contents, [page for page, _ in images])
        write_all(self._fd, pcmds, [pcmd for _, pcmd in images])

    def _read(self, place: Place, count: int) -> list[Image]:
        contents, pcmds = place
        pages = _cut(self._fd, contents, PAGE_SIZE, count)
        return list(zip(pages, _cut(self._fd, pcmds, Pcmd.SIZE, count), strict=True))


def places(first: Place, count: int) -> Iterator[Place]:
    """Yield the places of some pages, one behind the other."""
    contents, pcmds = first
    for at in range(count):
        yield contents + at * PAGE_SIZE, pcmds + at * Pcmd.SIZE


def write_all(fd: int, offset: int, pieces: Sequence[Data]) -> None:
    """Write pieces one behind the other; ENOSPC if not all of it could be."""
    if os.pwritev(fd, pieces, offset) < sum(len(piece) for piece in pieces):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _cut(fd: int, offset: int, size: int, count: int) -> Iterator[memoryview]:
    data = memoryview(os.pread(fd, size * count, offset).ljust(size * count, b"\0"))
    for at in range(0, size * count, size):
        yield data[at : at + size]
