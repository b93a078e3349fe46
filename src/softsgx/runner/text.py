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
_BACK = 4096
_PIECE = 1 << 20
_EH_FRAME_HDR = 0x6474E550
_PF_X = 1
_PT_LOAD = 1
_EHDR_SIZE = 64
_SDATA4_DATAREL = 0x3B
_UDATA4 = 0x03

Identity = tuple[int, int, int, int]


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
    starts = _function_starts(fd, segments)
    return tuple(at for at in candidates if _is_instruction(fd, at, starts, segments))


def _segments(fd: int) -> list[tuple[int, int, int, int]]:
    """Return file offset, address, file size and flags of each PT_LOAD."""
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


def _function_starts(fd: int, segments: list[tuple[int, int, int, int]]) -> list[int]:
    """Return file offsets of function starts, from the table of .eh_frame_hdr."""
    head = os.pread(fd, _EHDR_SIZE, 0)
    phoff, phentsize, phnum = _program_headers(head)
    for number in range(phnum):
        raw = os.pread(fd, 56, phoff + number * phentsize)
        if len(raw) < 56:
            break
        kind, _, offset, vaddr, _, filesz = struct.unpack_from("<IIQQQQ", raw)
        if kind == _EH_FRAME_HDR:
            table = os.pread(fd, filesz, offset)
            return sorted(
                start
                for address in _search_table(table, vaddr)
                if (start := _to_offset(address, segments)) is not None
            )
    return []


def _search_table(table: bytes, vaddr: int) -> list[int]:
    if len(table) < 12 or table[2] != _UDATA4 or table[3] != _SDATA4_DATAREL:
        return []
    (count,) = struct.unpack_from("<I", table, 8)
    count = min(count, (len(table) - 12) // 8)
    pairs = struct.unpack_from(f"<{2 * count}i", table, 12)
    return [vaddr + start for start in pairs[::2]]


def _to_offset(address: int, segments: list[tuple[int, int, int, int]]) -> int | None:
    for offset, vaddr, filesz, _ in segments:
        if vaddr <= address < vaddr + filesz:
            return address - vaddr + offset
    return None


def _is_instruction(
    fd: int, at: int, starts: list[int], segments: list[tuple[int, int, int, int]]
) -> bool:
    """Decode from the nearest function start below; without one, vote from nearby."""
    index = bisect_right(starts, at) - 1
    if index >= 0 and at - starts[index] <= PAGE_SIZE * 4:
        return _arrives(fd, starts[index], at)
    low = next(
        (offset for offset, _, size, _ in segments if offset <= at < offset + size), at
    )
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
