"""What the files of the misc controller say of sgx_epc, and what is written to one.

Linux's kernel/cgroup/misc.c; a line for each resource, of which ours is one.
"""

import errno
import re
from collections.abc import Callable
from dataclasses import dataclass

from softsgx.arch.addr import PAGE_SHIFT
from softsgx.driver.epc.cgroup import NO_LIMIT, Cgroup

RESOURCE = "sgx_epc"
MAX = "misc.max"
CAPACITY = "misc.capacity"
MOST_WRITTEN = 4096
"""Bytes that one write may have: a page, as kernfs takes them."""

_NUMBER = re.compile(rb"\+?(?:0[xX](?P<hex>[0-9a-fA-F]+)|(?P<other>[0-9]+))\n?")
_BLANKS = b" \t\n\v\f\r"


@dataclass(frozen=True)
class MiscFile:
    """One of the files: which cgroups have it, and what it says of one.

    *text* is told the EPC's size in bytes too.
    """

    text: Callable[[Cgroup, int], str]
    on_root: bool = False
    below_root: bool = True


def _bytes(pages: int) -> str:
    return f"{RESOURCE} {pages << PAGE_SHIFT}\n"


FILES = {
    MAX: MiscFile(lambda one, _: f"{RESOURCE} {limit_text(one.max)}\n"),
    "misc.current": MiscFile(lambda one, _: _bytes(one.usage), on_root=True),
    "misc.peak": MiscFile(lambda one, _: _bytes(one.peak), on_root=True),
    "misc.events": MiscFile(lambda one, _: f"{RESOURCE}.max {one.events}\n"),
    "misc.events.local": MiscFile(
        lambda one, _: f"{RESOURCE}.max {one.events_local}\n"
    ),
    CAPACITY: MiscFile(
        lambda _, size: f"{RESOURCE} {size}\n", on_root=True, below_root=False
    ),
}
"""By their names, in the order of the controller."""


def names_of(*, is_root: bool) -> list[str]:
    """Return the files that the directory of a cgroup has."""
    return [
        name
        for name, file in FILES.items()
        if (file.on_root if is_root else file.below_root)
    ]


def limit_text(limit: int) -> str:
    """Return how a limit reads."""
    return "max" if limit == NO_LIMIT else str(limit)


def parse_max(data: bytes) -> tuple[bytes, int]:
    """Return the resource and the limit of a write; OSError(EINVAL, ERANGE, E2BIG)."""
    if len(data) > MOST_WRITTEN:
        raise OSError(errno.E2BIG, "more than a page")
    # The kernel sees a string that ends with its first NUL.
    name, space, value = data.split(b"\0")[0].strip(_BLANKS).partition(b" ")
    if not space:
        raise OSError(errno.EINVAL, "no resource and limit")
    if value == b"max":
        return name, NO_LIMIT
    return name, _number(value)


def _number(text: bytes) -> int:
    """Read a number as kstrtou64 does: 0x begins a hexadecimal one, 0 an octal one."""
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise OSError(errno.EINVAL, "no number")
    if found["hex"]:
        number = int(found["hex"], 16)
    else:
        digits = found["other"]
        base = 8 if digits.startswith(b"0") else 10
        try:
            number = int(digits, base)
        except ValueError as error:
            raise OSError(errno.EINVAL, "no octal number") from error
    if number > NO_LIMIT:
        raise OSError(errno.ERANGE, "more than 64 bits")
    return number
