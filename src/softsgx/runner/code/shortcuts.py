"""System calls about paths in a program's code, which need not trap.

Such a call, with the comparison behind it, can give way to a jump, if no other jump
leads between the two.  What the jump leads to, a stub, has room in what is left of the
last page of the code, where files have zeros (decision record 43).
"""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice

from softsgx.native.numbers import SHORTCUT, SHORTCUT_SHIFT, SHORTCUT_SIZE
from softsgx.runner.code.text import (
    PF_X,
    Functions,
    Segment,
    candidates,
    decoder,
    read_at,
    segments_of,
)

_TAILS = (bytes.fromhex("0f05 483d00f0ffff"), bytes.fromhex("0f05 3d00f0ffff"))
"""SYSCALL, and a comparison of RAX or EAX with the last errno."""
_PATH_CALL = re.compile(
    rb"\xb8(?:[\x02\x04\x06\x15]\0|[\x01\x06\x0d\x4c\xb5\xb7]\x01)\0\0"
)
"""open, stat, lstat, access; openat, newfstatat, faccessat, statx, openat2 and
faccessat2, as EAX gets their numbers."""
_BEFORE = 16
_LARGEST = 1 << 12
_MOST = 64
"""Calls that are looked at closely: a hostile file may have no end."""
_MOST_CANDIDATES = 1 << 12
_PAGE = 1 << 12


def shortcuts(fd: int, size: int) -> tuple[int, ...]:
    """Return the places of an ELF's system calls about paths, see SHORTCUT; rising."""
    segments = segments_of(fd)
    code = next((segment for segment in segments if segment[3] & PF_X), None)
    if code is None or code[0] + code[2] > min(size, 1 << SHORTCUT_SHIFT):
        return ()
    return tuple(_with_stubs(fd, code[0], code[2], segments))


def _with_stubs(
    fd: int, offset: int, length: int, segments: list[Segment]
) -> Iterator[int]:
    stub, end = _room_behind(fd, offset + length)
    for at in _worth_it(_replaceable(fd, offset, length, segments)):
        if stub + SHORTCUT_SIZE > end:
            return
        yield SHORTCUT | stub << SHORTCUT_SHIFT | at
        stub += SHORTCUT_SIZE


def _worth_it(calls: list[int]) -> list[int]:
    """Return those that are not alone in their page: each page is copied."""
    pages = Counter(at // _PAGE for at in calls)
    return [at for at in calls if pages[at // _PAGE] > 1]


def _replaceable(
    fd: int, offset: int, length: int, segments: list[Segment]
) -> list[int]:
    found: list[tuple[int, int]] = []
    for tail in _TAILS:
        here = islice(candidates(fd, offset, length, tail), _MOST_CANDIDATES)
        found += [(at, len(tail)) for at in here if _is_about_path(fd, at)]
    functions = Functions(fd, segments) if found else None
    return [
        at
        for at, span in sorted(found)[:_MOST]
        if functions
        and (function := functions.around(at))
        and _leads_straight(fd, at, span, *function)
    ]


def _is_about_path(fd: int, at: int) -> bool:
    before = max(0, at - _BEFORE)
    return bool(_PATH_CALL.search(read_at(fd, at - before, before)))


def _room_behind(fd: int, end: int) -> tuple[int, int]:
    """Return the range between the end of code and that of its page: zeros, or none."""
    first, last = -(-end // 8) * 8, -(-end // _PAGE) * _PAGE
    last = min(last, 1 << SHORTCUT_SHIFT)
    return (first, last) if not any(read_at(fd, last - end, end)) else (first, first)


def _leads_straight(fd: int, at: int, span: int, start: int, end: int) -> bool:
    """Say whether decoding the function comes to the call, and no jump behind it."""
    if end - start > _LARGEST:
        return False
    arrives = False
    for here, _, name, operand in decoder().disasm_lite(
        read_at(fd, end - start, start), start
    ):
        arrives |= here == at
        if not name.startswith(("j", "loop")):
            continue
        if not operand.startswith("0x"):
            return False  # a table of places
        if at < int(operand, 16) < at + span:
            return False
    return arrives
