"""Shortcuts: code that need not trap: calls about paths, rt_sigaction, CPUIDs.

Such an instruction, with what stands behind it, can give way to a jump, if no other
jump leads between them and what stands behind means the same elsewhere.  What the jump
leads to, a stub, has room in what is left of the last page of the code, where files
have zeros (decision record 43).
"""

import re
from collections.abc import Iterable, Iterator
from itertools import islice

from softsgx.native.numbers import (
    SHORTCUT,
    SHORTCUT_SHIFT,
    SHORTCUT_SIZE,
    SHORTCUT_STUB_SHIFT,
)
from softsgx.runner.code.text import (
    PF_X,
    Functions,
    candidates,
    decoder,
    read_at,
    segments_of,
)

_TAILS = (bytes.fromhex("0f05 483d00f0ffff"), bytes.fromhex("0f05 3d00f0ffff"))
"""SYSCALL, and a comparison of RAX or EAX with the last errno."""
_NUMBER = re.compile(
    rb"\xb8(?:[\x02\x04\x06\x0d\x15]\0|[\x01\x06\x0d\x4c\xb5\xb7]\x01)\0\0"
)
"""open, stat, lstat, rt_sigaction, access; openat, newfstatat, faccessat, statx,
openat2 and faccessat2, as EAX gets their numbers."""
_BEFORE = 16
_LARGEST = 1 << 14
_MOST = 64
"""Of each kind that are looked at closely: a hostile file may have no end."""
_MOST_CANDIDATES = 1 << 12
_PAGE = 1 << 12
_JUMP = 5
_REGISTERS_ONLY = re.compile(r"(mov|and|or|xor|cmp|test|add|sub|shr|shl|sar|not|neg) ")

_CPUID = 2
_MOVED = b"\x83\x89\x8b"
_BY_RIP = 0x05
"""Opcodes, and a ModRM byte but for its register, of what the host's part moves with
CPUID though it has a word of memory: one that it reaches by its own place."""

_Instruction = tuple[int, int, str]
"""Address, size and text."""


def shortcuts(fd: int, size: int, cpuids: Iterable[int]) -> tuple[int, ...]:
    """Return places in an ELF's code, see SHORTCUT; rising.

    *cpuids* are the file offsets of its CPUIDs.
    """
    segments = segments_of(fd)
    code = next((segment for segment in segments if segment[3] & PF_X), None)
    if code is None or code[0] + code[2] > min(size, 1 << SHORTCUT_SHIFT):
        return ()
    offset, _, length, _ = code
    calls = _calls(fd, offset, length)
    here = [at for at in cpuids if offset <= at < offset + length][:_MOST]
    if not calls and not here:
        return ()
    around = _Around(fd, Functions(fd, segments))
    taken = dict.fromkeys(filter(around.is_call, calls), 0)
    taken |= {at: span for at in here if (span := around.span_of_cpuid(at))}
    return tuple(_with_stubs(taken, *_room_behind(fd, offset + length)))


def _with_stubs(taken: dict[int, int], stub: int, end: int) -> Iterator[int]:
    """Yield places; *taken* has the bytes that give way, as far as a place tells."""
    for at, span in sorted(taken.items()):
        if stub + SHORTCUT_SIZE > end:
            return
        yield SHORTCUT | stub << SHORTCUT_STUB_SHIFT | span << SHORTCUT_SHIFT | at
        stub += SHORTCUT_SIZE


def _calls(fd: int, offset: int, length: int) -> list[int]:
    found: list[int] = []
    for tail in _TAILS:
        here = islice(candidates(fd, offset, length, tail), _MOST_CANDIDATES)
        found += [at for at in here if _is_wanted(fd, at)]
    return sorted(found)[:_MOST]


def _is_wanted(fd: int, at: int) -> bool:
    before = max(0, at - _BEFORE)
    return bool(_NUMBER.search(read_at(fd, at - before, before)))


def _room_behind(fd: int, end: int) -> tuple[int, int]:
    """Return the range between the end of code and that of its page: zeros, or none."""
    first, last = -(-end // 8) * 8, -(-end // _PAGE) * _PAGE
    last = min(last, 1 << SHORTCUT_SHIFT)
    return (first, last) if not any(read_at(fd, last - end, end)) else (first, first)


class _Around:
    """The functions around places, decoded."""

    def __init__(self, fd: int, functions: Functions):
        self._fd = fd
        self._functions = functions
        self._decoded: dict[int, list[_Instruction]] = {}

    def is_call(self, at: int) -> bool:
        """Say whether a SYSCALL and the comparison behind it can give way."""
        code = self._behind(at)
        return len(code) > 1 and self._is_straight(at, code[0][1] + code[1][1])

    def span_of_cpuid(self, at: int) -> int:
        """Return how many bytes can give way from a CPUID on, 0 if too few can."""
        span = 0
        for here, size, text in self._behind(at):
            if span >= _JUMP:
                break
            if span and not self._can_move(here, text, is_first=span == _CPUID):
                return 0
            span += size
        is_enough = _JUMP <= span < SHORTCUT_SIZE - 24
        return span if is_enough and self._is_straight(at, span) else 0

    def _can_move(self, here: int, text: str, *, is_first: bool) -> bool:
        if "[" not in text:
            return bool(_REGISTERS_ONLY.match(text))
        opcode, operand = read_at(self._fd, 2, here)
        return is_first and opcode in _MOVED and operand & 0xC7 == _BY_RIP

    def _behind(self, at: int) -> list[_Instruction]:
        """Return what is executed from a place on; nothing if decoding misses it."""
        code = self._of(at)
        index = next(
            (n for n, (here, _, _) in enumerate(code) if here == at), len(code)
        )
        return code[index : index + _JUMP]

    def _is_straight(self, at: int, span: int) -> bool:
        """Say whether no jump of the function can lead behind the place's beginning."""
        for _, _, text in self._of(at):
            name, _, operand = text.partition(" ")
            if not name.startswith(("j", "loop")):
                continue
            if not operand.startswith("0x"):
                return False  # a table of places
            if at < int(operand, 16) < at + span:
                return False
        return True

    def _of(self, at: int) -> list[_Instruction]:
        start, end = self._functions.around(at) or (0, 0)
        if end - start > _LARGEST:
            return []
        if start not in self._decoded:
            code = decoder().disasm_lite(read_at(self._fd, end - start, start), start)
            self._decoded[start] = [
                (here, size, f"{name} {operand}") for here, size, name, operand in code
            ]
        return self._decoded[start]
