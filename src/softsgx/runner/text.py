"""CPUID instructions in a program's code.

CPUID does not trap where the machine cannot fault it, so a breakpoint is put over it.
The two bytes may also stand inside another instruction or in data: a candidate counts
only when decoding from the start of its function arrives at it.
"""

import importlib
import os
import struct
from bisect import bisect_right
from functools import cache
from typing import Any

from softsgx.arch.addr import PAGE_SIZE

CPUID = b"\x0f\xa2"
_LONGEST = 15
_PIECE = 1 << 20
_EH_FRAME_HDR = 0x6474E550
_PF_X = 1
_PT_LOAD = 1
_EHDR_SIZE = 64
_SDATA4_DATAREL = 0x3B
_UDATA4 = 0x03

Identity = tuple[int, int, int, int]
_Segment = tuple[int, int, int, int]
"""File offset, address, file size and flags of a PT_LOAD."""


class TextScanner:
    """Finds CPUID sites in files, each file once."""

    def __init__(self) -> None:
        self._known: dict[Identity, tuple[int, ...]] = {}

    def sites(self, fd: int) -> tuple[int, ...]:
        """Return the file offsets of the CPUIDs in an ELF's code; closes *fd*."""
        try:
            status = os.fstat(fd)
            key = (status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size)
            if key not in self._known:
                self._known[key] = _scan(fd, status.st_size)
            return self._known[key]
        finally:
            os.close(fd)


def _scan(fd: int, size: int) -> tuple[int, ...]:
    candidates: list[int] = []
    segments = _segments(fd)
    for offset, _, filesz, flags in segments:
        if flags & _PF_X:
            candidates += _candidates(fd, offset, min(filesz, max(0, size - offset)))
    if not candidates:
        return ()
    functions = _Functions(fd, segments)
    return tuple(at for at in candidates if _is_instruction(fd, at, functions))


def _segments(fd: int) -> list[_Segment]:
    """Return the PT_LOADs of an ELF; none if it is not one."""
    head = os.pread(fd, _EHDR_SIZE, 0)
    if len(head) < _EHDR_SIZE or head[:5] != b"\x7fELF\x02":
        return []
    phoff, phentsize, phnum = _program_headers(head)
    out = []
    for number in range(phnum):
        raw = os.pread(fd, 56, phoff + number * phentsize)
        if len(raw) < 56:
            break
        kind, flags, offset, vaddr, _, filesz = struct.unpack_from("<IIQQQQ", raw)
        if kind == _PT_LOAD:
            out.append((offset, vaddr, filesz, flags))
    return out


def _program_headers(head: bytes) -> tuple[int, int, int]:
    (phoff,) = struct.unpack_from("<Q", head, 32)
    phentsize, phnum = struct.unpack_from("<HH", head, 54)
    return phoff, phentsize, phnum


def _candidates(fd: int, offset: int, size: int) -> list[int]:
    found = []
    for start in range(offset, offset + size, _PIECE):
        length = min(_PIECE + 1, offset + size - start)
        piece = os.pread(fd, length, start)
        at = piece.find(CPUID)
        while at >= 0:
            found.append(start + at)
            at = piece.find(CPUID, at + 1)
    return sorted(set(found))


class _Functions:
    """Where functions start, from the sorted table of .eh_frame_hdr."""

    def __init__(self, fd: int, segments: list[_Segment]):
        self._segments = segments
        self._base = 0
        self._starts: tuple[int, ...] = ()
        head = os.pread(fd, _EHDR_SIZE, 0)
        phoff, phentsize, phnum = _program_headers(head)
        for number in range(phnum):
            raw = os.pread(fd, 56, phoff + number * phentsize)
            if len(raw) < 56:
                break
            kind, _, offset, vaddr, _, filesz = struct.unpack_from("<IIQQQQ", raw)
            if kind == _EH_FRAME_HDR:
                self._base = vaddr
                self._starts = _search_table(os.pread(fd, filesz, offset))

    def start_of(self, at: int) -> int | None:
        """Return the file offset of the nearest start at or below a file offset."""
        segment = self.segment_of(at)
        if segment is None:
            return None
        offset, vaddr, _, _ = segment
        index = bisect_right(self._starts, at - offset + vaddr - self._base) - 1
        if index < 0:
            return None
        start = self._starts[index] + self._base - vaddr + offset
        return start if start >= offset else None

    def segment_of(self, at: int) -> _Segment | None:
        """Return the segment that a file offset lies in."""
        for segment in self._segments:
            if segment[0] <= at < segment[0] + segment[2]:
                return segment
        return None


def _search_table(table: bytes) -> tuple[int, ...]:
    """Return starts relative to the table's address, sorted as the linker left them."""
    if len(table) < 12 or table[2] != _UDATA4 or table[3] != _SDATA4_DATAREL:
        return ()
    (count,) = struct.unpack_from("<I", table, 8)
    count = min(count, (len(table) - 12) // 8)
    return struct.unpack_from(f"<{2 * count}i", table, 12)[::2]


def _is_instruction(fd: int, at: int, functions: _Functions) -> bool:
    """Decode from the nearest function start below; without one, vote from nearby."""
    start = functions.start_of(at)
    if start is not None and at - start <= PAGE_SIZE * 4:
        return _arrives(fd, start, at)
    segment = functions.segment_of(at)
    low = segment[0] if segment else at
    # Decoding soon falls into step with the code, wherever it begins.
    tries = [
        _arrives(fd, max(low, at - back), at) for back in range(_LONGEST, 4 * _LONGEST)
    ]
    return sum(tries) * 2 > len(tries)


def _arrives(fd: int, start: int, at: int) -> bool:
    code = os.pread(fd, at - start + _LONGEST, start)
    position = start
    for length in _lengths(code):
        if position >= at:
            break
        position += length
    return position == at


def _lengths(code: bytes) -> "list[int]":
    lengths = []
    position = 0
    decoder = _decoder()
    while position < len(code):
        size = 1
        for _, size, _, _ in decoder.disasm_lite(code[position:], 0):
            lengths.append(size)
            position += size
        if position < len(code):
            # Data among the code: step over one byte and go on.
            lengths.append(1)
            position += 1
    return lengths


@cache
def _decoder() -> Any:  # noqa: ANN401 -- capstone has no types
    # Imported when the first candidate is met: most programs have none.
    capstone = importlib.import_module("capstone")
    return capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
