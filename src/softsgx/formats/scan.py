"""Find SIGSTRUCTs wherever they lie: a .sig file, a signed .so, an archive."""

from collections.abc import Iterator
from typing import NamedTuple

from softsgx.arch.sigstruct import HEADER, HEADER2, Sigstruct

_HEADER2_OFFSET = 24


class Found(NamedTuple):
    """A SIGSTRUCT at a byte offset of a file."""

    offset: int
    sigstruct: Sigstruct


def find_sigstructs(raw: bytes) -> Iterator[Found]:
    """Yield what has a SIGSTRUCT's two constants and its size, in order."""
    at = raw.find(HEADER)
    while at >= 0:
        header2 = raw[at + _HEADER2_OFFSET : at + _HEADER2_OFFSET + len(HEADER2)]
        if header2 == HEADER2 and at + Sigstruct.SIZE <= len(raw):
            yield Found(at, Sigstruct.from_bytes(raw[at : at + Sigstruct.SIZE]))
        at = raw.find(HEADER, at + 1)
