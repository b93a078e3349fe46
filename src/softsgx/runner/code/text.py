"""CPUID instructions in a program's code.

CPUID does not trap where the machine cannot fault it, so a breakpoint is put over it.
The two bytes may also stand inside another instruction or in data: a candidate counts
only when decoding from the start of its function arrives at it.
"""

import importlib
import os
import re
import struct
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from functools import cache
from itertools import islice
from typing import Any

CPUID = b"\x0f\xa2"
LONGEST = 15
"""Bytes of the longest instruction."""
_LARGEST = 1 << 16
_RECENT = 16
SETS_EAX = re.compile(r"[er]ax\b|al\b")
USES_RESULT = re.compile(r"\b[er][abcd]x\b|\b[abcd][lh]\b")
_SHT_SYMTAB = 2
_STT_FUNC = 2
_SYMBOL = struct.Struct("<IBBHQQ")
_LARGEST_TABLE = 1 << 26
_MOST_TEXT = 1 << 30
_MOST_DECODED = 1 << 21
"""Bytes of a file that are looked at and decoded: a hostile file may have no end."""
_MOST_CANDIDATES = 1 << 16
_MOST_SEGMENTS = 64
"""Program headers that are looked at: several may be of the same bytes."""
_PIECE = 1 << 20
_EH_FRAME_HDR = 0x6474E550
PF_X = 1
_PT_LOAD = 1
_EHDR_SIZE, _PHDR_SIZE = 64, 56
_SDATA4_DATAREL = 0x3B
_UDATA4 = 0x03

Segment = tuple[int, int, int, int]
"""File offset, address, file size and flags of a PT_LOAD."""


def read_at(fd: int, size: int, offset: int) -> bytes:
    """Read what a file has there; nothing where no file can have anything."""
    if offset >= 1 << 63 or size > _LARGEST_TABLE:
        return b""
    try:
        return os.pread(fd, size, offset)
    except OSError:
        return b""


def scan(fd: int, size: int) -> tuple[int, ...]:
    """Return file offsets of the CPUIDs in an ELF's code."""
    found: list[int] = []
    segments = segments_of(fd)
    left = _MOST_TEXT
    for offset, _, filesz, flags in segments:
        if flags & PF_X:
            here = min(filesz, max(0, size - offset), left)
            most = _MOST_CANDIDATES - len(found)
            found += islice(candidates(fd, offset, here), most)
            left -= here
    if not found:
        return ()
    functions: Functions | _Symbols = Functions(fd, segments)
    functions = functions or _Symbols(fd, segments)
    return tuple(_instructions(fd, sorted(set(found)), functions))


def _instructions(
    fd: int, found: list[int], functions: "Functions | _Symbols"
) -> Iterator[int]:
    """Yield the candidates that are instructions, as long as one may decode."""
    left = _MOST_DECODED
    for at in found:
        if left <= 0:
            return
        if not functions:
            left -= 8 * LONGEST * LONGEST
            if _is_likely(fd, at):
                yield at
            continue
        function = functions.around(at)
        if function is None or function[1] - function[0] > _LARGEST:
            continue
        left -= at - function[0] + LONGEST
        if _is_instruction(fd, at, *function):
            yield at


def segments_of(fd: int) -> list[Segment]:
    """Return the PT_LOADs of an ELF; none if it is not one."""
    return [segment for kind, segment in _program_headers(fd) if kind == _PT_LOAD]


def _program_headers(fd: int) -> Iterator[tuple[int, Segment]]:
    """Yield the kind of each program header of an ELF, and what it is of."""
    head = read_at(fd, _EHDR_SIZE, 0)
    if len(head) < _EHDR_SIZE or head[:5] != b"\x7fELF\x02":
        return
    (phoff,) = struct.unpack_from("<Q", head, 32)
    phentsize, phnum = struct.unpack_from("<HH", head, 54)
    for number in range(min(phnum, _MOST_SEGMENTS)):
        raw = read_at(fd, _PHDR_SIZE, phoff + number * phentsize)
        if len(raw) < _PHDR_SIZE:
            return
        kind, flags, offset, vaddr, _, filesz = struct.unpack_from("<IIQQQQ", raw)
        yield kind, (offset, vaddr, filesz, flags)


def candidates(fd: int, offset: int, size: int, wanted: bytes = CPUID) -> Iterator[int]:
    """Yield the file offsets at which certain bytes stand, within a range."""
    for start in range(offset, offset + size, _PIECE):
        length = min(_PIECE + len(wanted) - 1, offset + size - start)
        piece = read_at(fd, length, start)
        at = piece.find(wanted)
        while at >= 0:
            yield start + at
            at = piece.find(wanted, at + 1)


class Functions:
    """Where functions start and end, from .eh_frame_hdr and the frames it leads to."""

    def __init__(self, fd: int, segments: list[Segment]):
        self._fd = fd
        self._segments = segments
        self._base = 0
        self._starts: tuple[int, ...] = ()
        self._frames: tuple[int, ...] = ()
        for kind, (offset, vaddr, filesz, _) in _program_headers(fd):
            if kind == _EH_FRAME_HDR:
                self._base = vaddr
                pairs = _search_table(read_at(fd, filesz, offset))
                self._starts, self._frames = pairs[::2], pairs[1::2]
                return

    def __bool__(self) -> bool:
        return bool(self._starts)

    def around(self, at: int) -> tuple[int, int] | None:
        """Return the file offsets of start and end of the function at a file offset."""
        shift = self._shift_at(at)
        if shift is None:
            return None
        index = bisect_right(self._starts, at + shift - self._base) - 1
        if index < 0:
            return None
        start = self._starts[index] + self._base
        end = start + self._size_of(self._frames[index] + self._base, start)
        return (start - shift, end - shift) if at + shift < end else None

    def _shift_at(self, at: int) -> int | None:
        """Return address minus file offset of the segment at a file offset."""
        for offset, vaddr, size, _ in self._segments:
            if offset <= at < offset + size:
                return vaddr - offset
        return None

    def _size_of(self, frame: int, start: int) -> int:
        """Return a function's size, if its frame entry has the usual encoding."""
        for offset, vaddr, size, _ in self._segments:
            if vaddr <= frame < vaddr + size:
                raw = read_at(self._fd, 16, frame - vaddr + offset)
                if len(raw) == 16:
                    _, _, where, length = struct.unpack("<IIiI", raw)
                    return length if frame + 8 + where == start else 0
        return 0


def _search_table(table: bytes) -> tuple[int, ...]:
    """Return starts and frames in turn, relative to the table, in order of starts."""
    if len(table) < 12 or table[2] != _UDATA4 or table[3] != _SDATA4_DATAREL:
        return ()
    (count,) = struct.unpack_from("<I", table, 8)
    count = min(count, (len(table) - 12) // 8)
    return struct.unpack_from(f"<{2 * count}i", table, 12)


class _Symbols:
    """Where functions start and end, from the symbol table of a static program."""

    def __init__(self, fd: int, segments: list[Segment]):
        self._functions: list[tuple[int, int]] = []
        head = read_at(fd, _EHDR_SIZE, 0)
        (shoff,) = struct.unpack_from("<Q", head, 40)
        shentsize, shnum = struct.unpack_from("<HH", head, 58)
        for number in range(shnum):
            raw = read_at(fd, 64, shoff + number * shentsize)
            if len(raw) < 64:
                break
            _, kind, _, _, offset, size = struct.unpack_from("<IIQQQQ", raw)
            if kind == _SHT_SYMTAB and size <= _LARGEST_TABLE:
                self._read(read_at(fd, size, offset), segments)
                break  # an ELF has one
        self._functions.sort()

    def __bool__(self) -> bool:
        return bool(self._functions)

    def around(self, at: int) -> tuple[int, int] | None:
        """Return the file offsets of start and end of the function at a file offset."""
        index = bisect_right(self._functions, (at, 1 << 64)) - 1
        if index >= 0 and at < self._functions[index][1]:
            return self._functions[index]
        return None

    def _read(self, table: bytes, segments: list[Segment]) -> None:
        whole = table[: len(table) - len(table) % _SYMBOL.size]
        for _, info, _, _, value, size in _SYMBOL.iter_unpack(whole):
            if info & 0xF != _STT_FUNC or not size:
                continue
            for offset, vaddr, filesz, flags in segments:
                if flags & PF_X and vaddr <= value < vaddr + filesz:
                    start = value - vaddr + offset
                    self._functions.append((start, start + size))
                    break


def _is_instruction(fd: int, at: int, start: int, end: int) -> bool:
    """Decode from the start of the function around it.

    A byte that does not decode, or no value put into EAX shortly before, means that
    this is not code: tables lie among the functions of some libraries.
    """
    return _arrives(read_at(fd, min(end, at + LONGEST) - start, start), at - start)


def _arrives(code: bytes, at: int) -> bool:
    """Say whether decoding from the start comes to *at*, with a value put into EAX."""
    position = 0
    operands: deque[str] = deque(maxlen=_RECENT)
    for _, size, _, operand in decoder().disasm_lite(code, 0):
        if position >= at:
            break
        position += size
        operands.append(operand)
    return position == at and any(map(SETS_EAX.match, operands))


def _is_likely(fd: int, at: int) -> bool:
    """Judge without any table, for a stripped static program.

    Decoding soon falls into step with the code, wherever it begins; in data it does
    not.  Most beginnings must agree, and the results must be used at once.
    """
    code = read_at(fd, 4 * LONGEST + 2 * LONGEST, max(0, at - 4 * LONGEST))
    here = min(at, 4 * LONGEST)
    votes = [_arrives(code[here - back :], back) for back in range(LONGEST, here)]
    after = next(decoder().disasm_lite(code[here + len(CPUID) :], 0), None)
    return (
        sum(votes) * 2 > len(votes)
        and after is not None
        and bool(USES_RESULT.search(after[3]))
    )


@cache
def decoder() -> Any:  # noqa: ANN401 -- capstone has no types
    """Return capstone's decoder of 64-bit code."""
    # Imported when the first candidate is met: most programs have none.
    capstone = importlib.import_module("capstone")
    return capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
