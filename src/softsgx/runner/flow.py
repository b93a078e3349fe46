"""Instructions that do not trap in an enclave's page, which may hold data as well.

Certain is what can be reached by decoding from an instruction that was executed: over
direct branches, and through tables of a compiler's switch.  Nothing else counts but
CPUID: its two bytes do when decoding falls into step with them from nearly everywhere
before, they get a leaf, and their results are used at once.
"""

import re
import struct
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from softsgx.runner.text import CPUID, LONGEST, SETS_EAX, USES_RESULT, decoder

SUSPECT = re.compile(
    rb"\x0f(?:\xa2|\x34|[\xa1\xa9]|[\xb2\xb4\xb5][\x00-\xbf]|\x00[\xc0-\xcf]|"
    rb"\x01[\x00-\x0f\x20-\x27\x40-\x4f\x60-\x67\x80-\x8f\xa0-\xa7\xc1\xd9\xe0-\xe7])"
)
"""Bytes of what is looked for, as it is usually written: CPUID, SYSENTER, POP FS and
GS, LSS, LFS, LGS, SLDT and STR of a register, SGDT, SIDT, SMSW, VMCALL."""
SUSPECT_SIZE = 3

_UNDEFINED = frozenset(
    {
        *("cpuid", "sysenter", "lss", "lfs", "lgs", "sldt", "str", "sgdt", "sidt"),
        *("smsw", "vmcall", "vmmcall"),
    }
)
_BACK = 4 * LONGEST
"""How far before a candidate decoding begins, at most."""
_RECENT = 16
_SOON = 4
_TARGET = re.compile(r"0x[0-9a-f]+\Z")
_BOUND = re.compile(r"\w+, (0x[0-9a-f]+|\d+)\Z")
_BASE = re.compile(r"\w+, \[rip ([+-]) (0x[0-9a-f]+|\d+)\]\Z")
_BRANCHES = frozenset({"call", "loop", "loope", "loopne"})
_ENDS = frozenset({"jmp", "notrack jmp", "ret", "retf", "iretq", "ud2", "hlt", "int3"})
_MOST_CASES = 1024

MARGIN = _BACK + LONGEST
"""Bytes on both sides of a page that judging it may need."""

Memory = Callable[[int, int], bytes]
"""Reads the enclave's memory: place, counted like places in the code, and size."""


class Site(NamedTuple):
    """An instruction: its size, and how far before it another begins (0: unknown)."""

    size: int
    before: int


@dataclass
class Found:
    """What a page has: forbidden instructions by their places, and ways out of it."""

    sites: dict[int, "Site"] = field(default_factory=dict)
    leaves: set[int] = field(default_factory=set)


def judge(
    code: bytes, page: tuple[int, int], entries: Iterable[int], memory: Memory
) -> Found:
    """Look through a page, which is *code* from one place to another.

    *entries* are places in it where instructions are known to begin.
    """
    start, end = page
    flow = _Flow(code, page, memory)
    flow.follow(entries)
    found = Found(flow.sites(), flow.leaves)
    covered = {at + n for at, size in flow.seen.items() for n in range(1, size)}
    at = code.find(CPUID, start, end + 1)
    while at >= 0:
        if at not in covered and at not in found.sites:
            before = _likely(code, at)
            if before:
                found.sites[at] = Site(len(CPUID), before)
        at = code.find(CPUID, at + 1, end + 1)
    return found


@dataclass
class _Switch:
    """What a compiler puts before the jump of a switch: its bound, and its table."""

    base: int = 0
    cases: int = 0
    compared: int | None = None
    is_bound: bool = False

    def note(self, behind: int, name: str, operand: str) -> None:
        """Take note of an instruction; *behind* is the place after it."""
        if name == "cmp":
            match = _BOUND.match(operand)
            self.compared = int(match[1], 0) if match else None
        elif name == "ja" and self.compared is not None:
            self.is_bound = True
        elif name == "lea" and self.is_bound and (match := _BASE.match(operand)):
            self.base = behind + int(match[1] + match[2], 0)
            self.cases = (self.compared or 0) + 1


class _Flow:
    """Instructions of a page that are reached."""

    def __init__(self, code: bytes, page: tuple[int, int], memory: Memory):
        self._code = code
        self._start, self._end = page
        self._memory = memory
        self._todo: list[int] = []
        self.seen: dict[int, int] = {}
        self._undefined: set[int] = set()
        self.leaves: set[int] = set()

    def follow(self, entries: Iterable[int]) -> None:
        self._go(entries)
        while self._todo:
            self._line(self._todo.pop())

    def sites(self) -> dict[int, Site]:
        """Return the instructions that are forbidden."""
        before = {at + size: size for at, size in self.seen.items()}
        return {at: Site(self.seen[at], before.get(at, 0)) for at in self._undefined}

    def _line(self, begin: int) -> None:
        """Decode up to where the code does not go on."""
        switch = _Switch()
        lines = decoder().disasm_lite(self._code[begin : self._end + LONGEST], begin)
        for at, size, name, operand in lines:
            if at in self.seen:
                break
            if at >= self._end:
                self.leaves.add(at)
                break
            self.seen[at] = size
            if name in _UNDEFINED or (name == "pop" and operand in {"fs", "gs"}):
                self._undefined.add(at)
            switch.note(at + size, name, operand)
            self._branch(name, operand, switch)
            if name in _ENDS:
                break

    def _branch(self, name: str, operand: str, switch: _Switch) -> None:
        if _TARGET.match(operand):
            if name[0] == "j" or name in _BRANCHES:
                self._go([int(operand, 16)])
        elif name.endswith("jmp") and "[" not in operand and switch.cases:
            self._go(self._cases(switch.base, min(switch.cases, _MOST_CASES)))

    def _cases(self, base: int, count: int) -> list[int]:
        """Return where a switch goes: its table has 32-bit distances from itself."""
        table = self._memory(base, 4 * count)
        if len(table) != 4 * count:
            return []
        return [base + case for (case,) in struct.iter_unpack("<i", table)]

    def _go(self, places: Iterable[int]) -> None:
        for place in places:
            if self._start <= place < self._end:
                self._todo.append(place)
            else:
                self.leaves.add(place)


def _likely(code: bytes, at: int) -> int:
    """Judge a CPUID that nothing is known to lead to; 0, or the size before it."""
    first = max(0, at - _BACK)
    votes = Counter(
        _arrives(code[begin:at]) for begin in range(first, at - LONGEST + 1)
    )
    size, agreed = max(votes.items(), key=lambda vote: vote[1], default=(0, 0))
    after = islice(decoder().disasm_lite(code[at + len(CPUID) :], 0), _SOON)
    if agreed * 3 <= votes.total() * 2:
        return 0
    return size if any(USES_RESULT.search(operand) for *_, operand in after) else 0


def _arrives(code: bytes) -> int:
    """Return the size of the last instruction, if decoding ends where the bytes end.

    A value must have been put into EAX on the way; 0 if not.
    """
    position = last = 0
    operands: deque[str] = deque(maxlen=_RECENT)
    for _, size, _, operand in decoder().disasm_lite(code, 0):
        position += size
        last = size
        operands.append(operand)
    arrives = position == len(code) and any(map(SETS_EAX.match, operands))
    return last if arrives else 0
