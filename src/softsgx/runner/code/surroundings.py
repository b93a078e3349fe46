"""What of an enclave's memory can be looked at, where pages may be out of the EPC."""

from collections.abc import Callable, Iterable, Iterator

from softsgx.arch.addr import PAGE_SHIFT, PAGE_SIZE
from softsgx.arch.secinfo import PageType
from softsgx.driver.encl import Encl
from softsgx.driver.mapping import Extent
from softsgx.driver.uapi import PROT_EXEC
from softsgx.runner.code.flow import (
    SUSPECT,
    SUSPECT_SIZE,
    Wanted,
    called_places,
)

NEARBY = 128
"""Pages before and behind one that are searched for calls into it."""
_ESCAPE = 0x0F
"""What all suspects begin with."""


def ends_in_suspect(encl: Encl, index: int) -> bool:
    """Say whether a suspect may begin in a page and end in the next."""
    end = index + 1 << PAGE_SHIFT
    return _ESCAPE in bytes(encl.contents(end - SUSPECT_SIZE + 1, end))


def suspects(extent: Extent, wanted: Wanted) -> set[int]:
    """Return the numbers of the pages of an extent that must be judged before they run.

    So must a page that is out, or whose suspect may end in one: either comes back.
    """
    encl = extent.encl
    low, high = extent.start - encl.base, extent.end - encl.base
    found = SUSPECT[wanted].finditer(encl.contents(low, high + SUSPECT_SIZE - 1))
    numbers = {(low + match.start()) >> PAGE_SHIFT for match in found}
    if encl.evicted:
        numbers.update(_unseen(encl, low >> PAGE_SHIFT, high >> PAGE_SHIFT))
    return numbers


def _unseen(encl: Encl, first: int, end: int) -> Iterator[int]:
    for index in range(first, end):
        if _is_out(encl, index) or (
            _is_out(encl, index + 1) and ends_in_suspect(encl, index)
        ):
            yield index


def within(pages: Iterable[int], extent: Extent) -> list[int]:
    """Return those numbers of pages that are in an extent."""
    encl = extent.encl
    low, high = encl.index(extent.start), encl.index(extent.end - 1)
    return [index for index in pages if low <= index <= high]


def is_in(encl: Encl, index: int) -> bool:
    """Say whether there is such a page, and in the EPC."""
    page = encl.page(encl.base + (index << PAGE_SHIFT))
    return page is not None and not page.evicted


def called(
    encl: Encl, index: int, read: Callable[[Encl, int, int], bytes]
) -> Iterator[int]:
    """Yield the addresses in a page that bytes nearby, if they are code, call.

    *read* brings what is out, by address and size; nothing: it cannot.
    """
    first, last = _executable_around(encl, index)
    start, size = encl.base + (first << PAGE_SHIFT), last + 1 - first << PAGE_SHIFT
    # Together they may be more than the EPC has.
    step = PAGE_SIZE if encl.evicted else size
    steps = range(start, start + size, step)
    code = b"".join(read(encl, at, step) or bytes(step) for at in steps)
    at = index - first << PAGE_SHIFT
    for place in called_places(code, at, at + PAGE_SIZE):
        yield start + place


def _executable_around(encl: Encl, index: int) -> tuple[int, int]:
    """Return the first and last of the pages around one that may run, in a row."""
    first, last = index, index
    while first > index - NEARBY and _may_run(encl, first - 1):
        first -= 1
    while last < index + NEARBY and _may_run(encl, last + 1):
        last += 1
    return first, last


def _is_out(encl: Encl, index: int) -> bool:
    page = encl.page(encl.base + (index << PAGE_SHIFT))
    return page is not None and page.evicted


def _may_run(encl: Encl, index: int) -> bool:
    address = encl.base + (index << PAGE_SHIFT)
    page = encl.page(address)
    if page is None or page.type != PageType.REG:
        return False
    return bool(encl.word(address) & PROT_EXEC)
