"""CPUID instructions in an enclave's page, which has no symbols and may hold data.

Certain is what can be reached by decoding from an instruction that was executed.
Elsewhere in a page that runs, the two bytes count when decoding falls into step with
them from nearly everywhere before, they get a leaf, and their results are used.
"""

import re
from collections import deque
from itertools import islice

from softsgx.runner.text import CPUID, LONGEST, SETS_EAX, USES_RESULT, decoder

_BACK = 4 * LONGEST
"""How far before a candidate decoding begins, at most."""
_RECENT = 16
_SOON = 4
_TARGET = re.compile(r"0x[0-9a-f]+\Z")
_BRANCHES = frozenset({"call", "loop", "loope", "loopne"})
_ENDS = frozenset({"jmp", "ret", "retf", "iretq", "ud2", "hlt", "int3"})

MARGIN = _BACK + LONGEST
"""Bytes on both sides of a page that judging it may need."""


def cpuids(code: bytes, start: int, end: int, entry: int | None) -> dict[int, int]:
    """Return where in *code*, from *start* up to *end*, CPUIDs begin, and their sizes.

    *entry* is where an instruction was executed, None if that is not known.
    """
    candidates = []
    at = code.find(CPUID, start, end + 1)
    while at >= 0:
        candidates.append(at)
        at = code.find(CPUID, at + 1, end + 1)
    if not candidates:
        return {}
    starts = {} if entry is None else _reached(code, start, end, entry)
    found = {at: size for at, (size, name) in starts.items() if name == "cpuid"}
    covered = {at + n for at, (size, _) in starts.items() for n in range(1, size)}
    for at in candidates:
        if at not in covered and at not in found and _is_likely(code, at):
            found[at] = len(CPUID)
    return found


def _reached(
    code: bytes, start: int, end: int, entry: int
) -> dict[int, tuple[int, str]]:
    """Follow the code from an instruction: starts with sizes and names, in the page."""
    seen: dict[int, tuple[int, str]] = {}
    todo = [entry]
    while todo:
        begin = todo.pop()
        lines = decoder().disasm_lite(code[begin : end + LONGEST], begin)
        for at, size, name, operand in lines:
            if at in seen or not start <= at < end:
                break
            seen[at] = (size, name)
            if (name[0] == "j" or name in _BRANCHES) and _TARGET.match(operand):
                todo.append(int(operand, 16))
            if name in _ENDS:
                break
    return seen


def _is_likely(code: bytes, at: int) -> bool:
    """Judge a candidate that nothing is known to lead to."""
    first = max(0, at - _BACK)
    votes = [_arrives(code[begin:at]) for begin in range(first, at - LONGEST + 1)]
    after = islice(decoder().disasm_lite(code[at + len(CPUID) :], 0), _SOON)
    return sum(votes) * 3 > len(votes) * 2 and any(
        USES_RESULT.search(operand) for _, _, _, operand in after
    )


def _arrives(code: bytes) -> bool:
    """Say whether decoding ends where the bytes end, with a value put into EAX."""
    position = 0
    operands: deque[str] = deque(maxlen=_RECENT)
    for _, size, _, operand in decoder().disasm_lite(code, 0):
        position += size
        operands.append(operand)
    return position == len(code) and any(map(SETS_EAX.match, operands))
