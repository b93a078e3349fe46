"""Instructions that do not trap in an enclave's page, which may hold data as well.

Certain is what can be reached by decoding from an instruction that was executed: over
direct branches, and through tables of a compiler's switch; as good as certain, where a
call from nearby leads that way.  Nothing else counts but
CPUID, XGETBV and the XSAVE family: their bytes do when decoding falls into step with
them from nearly everywhere before, they get a leaf or a mask, and results, if they have
any, are used at once.
"""

import re
import struct
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntFlag
from functools import lru_cache
from itertools import islice
from typing import NamedTuple

from softsgx.runner.code.text import CPUID, LONGEST, SETS_EAX, USES_RESULT, decoder


class Wanted(IntFlag):
    """What is looked for."""

    UNDEFINED = 1
    """CPUID and others that are #UD in an enclave."""
    STATE = 2
    """XGETBV and the XSAVE family, which there obey XFRM."""


_UNDEFINED_BYTES = (
    rb"\xa2|\x34|[\xa1\xa9]|[\xb2\xb4\xb5][\x00-\xbf]|\x00[\xc0-\xcf]|"
    rb"\x01[\x00-\x0f\x20-\x27\x40-\x4f\x60-\x67\x80-\x8f\xa0-\xa7\xc1\xd9\xe0-\xe7]"
)
_STATE_BYTES = (
    rb"\x01\xd0|\xae[\x20-\x37\x60-\x77\xa0-\xb7]|\xc7[\x20-\x27\x60-\x67\xa0-\xa7]"
)
SUSPECT = {
    Wanted.UNDEFINED: re.compile(rb"\x0f(?:" + _UNDEFINED_BYTES + rb")"),
    Wanted.STATE: re.compile(rb"\x0f(?:" + _STATE_BYTES + rb")"),
    Wanted.UNDEFINED | Wanted.STATE: re.compile(
        rb"\x0f(?:" + _UNDEFINED_BYTES + rb"|" + _STATE_BYTES + rb")"
    ),
}
"""Bytes of what is looked for, as it is usually written: CPUID, SYSENTER, POP FS and
GS, LSS, LFS, LGS, SLDT and STR of a register, SGDT, SIDT, SMSW, VMCALL; XGETBV, XSAVE,
XSAVEC, XSAVEOPT, XRSTOR."""
SUSPECT_SIZE = 3

_UNDEFINED = frozenset(
    {
        *("cpuid", "sysenter", "lss", "lfs", "lgs", "sldt", "str", "sgdt", "sidt"),
        *("smsw", "vmcall", "vmmcall"),
    }
)
_STATE = frozenset(
    {
        *("xgetbv", "xsave", "xsave64", "xsavec", "xsavec64", "xsaveopt", "xsaveopt64"),
        *("xrstor", "xrstor64"),
    }
)
_ESCAPE = 0x0F
"""Where such an instruction begins behind its prefixes."""
_SETS_EDX = re.compile(r"[er]dx\b")
_SETS_ECX = re.compile(r"[er]cx\b")
_REX, _SEGMENTS = 0x40, b"\x64\x65"
_XGETBV = b"\x0f\x01\xd0"
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
_SPAN = 1 << 16
"""Bytes that are searched for calls at a time: their distances have much in common."""
_AT_ONCE = 12
"""Instructions that are decoded at a time: most lines are no longer."""

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
    state: set[int] = field(default_factory=set)
    """XGETBV and the XSAVE family: where they begin behind their prefixes."""


def called_places(code: bytes, start: int, end: int) -> Iterator[int]:
    """Yield the places from *start* to *end* that a CALL or JMP in *code* leads to.

    Its bytes may be other instructions' or data: each is a place only perhaps.
    """
    for first in range(start % _SPAN - _SPAN, len(code), _SPAN):
        low, high = start - first - _SPAN - 5, end - first
        calls = _calls(low // _SPAN, high // _SPAN)
        for match in calls.finditer(code, max(0, first), first + _SPAN + 4):
            behind = match.end() + 4
            distance = int.from_bytes(code[behind - 4 : behind], "little", signed=True)
            if match.start() < first + _SPAN and start <= behind + distance < end:
                yield behind + distance


@lru_cache(64)
def _calls(low: int, high: int) -> re.Pattern[bytes]:
    """Return what finds a CALL or JMP by what its distance begins with, 16 bits of 32.

    Another may begin inside of it.
    """
    begins = (n.to_bytes(2, "little", signed=True) for n in range(low, high + 1))
    some = b"|".join(map(re.escape, begins))
    return re.compile(rb"[\xe8\xe9](?=..(?:" + some + rb"))", re.DOTALL)


def judge(
    code: bytes,
    page: tuple[int, int],
    entries: Iterable[int],
    memory: Memory,
    called: Callable[[], Iterable[int]] = list,
    wanted: Wanted = Wanted.UNDEFINED,
) -> Found:
    """Look through a page, which is *code* from one place to another.

    *entries* are places in it where instructions are known to begin; *called* gives
    those where they may, as `called_places` finds them, if it matters.
    """
    flow = _Flow(code, page, memory)
    flow.follow(entries)
    found = Found(flow.sites(), flow.leaves, set(flow.state))
    covered = {at + n for at, size in flow.seen.items() for n in range(1, size)}
    known = covered | set(flow.seen)
    if any(match.start() not in known for match in _in_page(code, page, wanted)):
        perhaps = _Flow(code, page, memory)
        perhaps.follow(called())
        for at, site in perhaps.sites().items():
            if at not in known:
                found.sites[at] = site
        found.state |= perhaps.state - known
    if wanted & Wanted.UNDEFINED:
        _add_likely_cpuids(code, page, covered, found)
    else:
        found.sites.clear()
    if wanted & Wanted.STATE:
        _add_likely_state(code, page, covered, found)
    else:
        found.state.clear()
    return found


def _in_page(
    code: bytes, page: tuple[int, int], wanted: Wanted
) -> Iterator[re.Match[bytes]]:
    start, end = page
    return SUSPECT[wanted].finditer(code, start, end + SUSPECT_SIZE - 1)


def _add_likely_cpuids(
    code: bytes, page: tuple[int, int], covered: set[int], found: Found
) -> None:
    start, end = page
    at = code.find(CPUID, start, end + 1)
    while at >= 0:
        if at not in covered and at not in found.sites:
            before = _likely(code, at, (SETS_EAX,))
            if before and _is_used(code, at + len(CPUID)):
                found.sites[at] = Site(len(CPUID), before)
        at = code.find(CPUID, at + 1, end + 1)


def _add_likely_state(
    code: bytes, page: tuple[int, int], covered: set[int], found: Found
) -> None:
    for match in _in_page(code, page, Wanted.STATE):
        at = match.start()
        if at in covered or at in found.state or at >= page[1]:
            continue
        if match[0] == _XGETBV:
            is_one = _is_used(code, match.end()) and _likely(code, at, (_SETS_ECX,))
        else:
            begins = (at - len(some) for some in _prefixes(code, at))
            sets = (SETS_EAX, _SETS_EDX)
            is_one = any(_likely(code, begin, sets) for begin in begins)
        if is_one:
            found.state.add(at)


def _prefixes(code: bytes, at: int) -> Iterator[bytes]:
    """Yield what may be its prefixes: none, REX, a segment and REX."""
    yield b""
    if code[at - 1] & 0xF0 == _REX:
        yield code[at - 1 : at]
        if code[at - 2] in _SEGMENTS:
            yield code[at - 2 : at]


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
        self.state: set[int] = set()
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
        for at, size, name, operand in self._decoded(begin):
            if at in self.seen:
                break
            if at >= self._end:
                self.leaves.add(at)
                break
            self.seen[at] = size
            if name in _UNDEFINED or (name == "pop" and operand in {"fs", "gs"}):
                self._undefined.add(at)
            elif name in _STATE:
                self.state.add(self._code.index(_ESCAPE, at))
            switch.note(at + size, name, operand)
            self._branch(name, operand, switch)
            if name in _ENDS:
                break

    def _decoded(self, at: int) -> Iterator[tuple[int, int, str, str]]:
        """Decode a few at a time, as the decoder does not wait to be asked for more."""
        while True:
            until = min(self._end + LONGEST, at + _AT_ONCE * LONGEST)
            size = 0
            for line in decoder().disasm_lite(self._code[at:until], at, _AT_ONCE):
                yield line
                size += line[1]
            if not size:
                return
            at += size

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


def _likely(code: bytes, at: int, sets: tuple[re.Pattern[str], ...]) -> int:
    """Judge an instruction that nothing is known to lead to, with operands to be set.

    0, or the size of the one before it.
    """
    first = max(0, at - _BACK)
    votes = Counter(
        _arrives(code[begin:at], sets) for begin in range(first, at - LONGEST + 1)
    )
    size, agreed = max(votes.items(), key=lambda vote: vote[1], default=(0, 0))
    return 0 if agreed * 3 <= votes.total() * 2 else size


def _is_used(code: bytes, behind: int) -> bool:
    """Say whether code uses soon what an instruction left in EAX to EDX."""
    after = islice(decoder().disasm_lite(code[behind:], 0), _SOON)
    return any(USES_RESULT.search(operand) for *_, operand in after)


def _arrives(code: bytes, sets: tuple[re.Pattern[str], ...]) -> int:
    """Return the size of the last instruction, if decoding ends where the bytes end.

    A value must have been put into each register of *sets* on the way; 0 if not.
    """
    position = last = 0
    operands: deque[str] = deque(maxlen=_RECENT)
    for _, size, _, operand in decoder().disasm_lite(code, 0):
        position += size
        last = size
        operands.append(operand)
    arrives = position == len(code) and all(
        any(map(one.match, operands)) for one in sets
    )
    return last if arrives else 0
