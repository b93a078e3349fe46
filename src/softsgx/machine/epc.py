"""The enclave page cache: the bytes of its pages, wherever they live."""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any

from softsgx.arch.addr import PAGE_SHIFT, PAGE_SIZE

_ZEROS = bytes(PAGE_SIZE)
_first_of = attrgetter("first")


@dataclass(frozen=True, slots=True)
class _Run:
    first: int
    count: int
    memory: memoryview
    offset: int

    @property
    def end(self) -> int:
        return self.first + self.count

    def goes_on_with(self, other: "_Run") -> bool:
        """Say whether another run lies behind this one, in the EPC and in memory."""
        return (
            self.memory is other.memory
            and self.end == other.first
            and self.offset + (self.count << PAGE_SHIFT) == other.offset
        )

    def part(self, first: int, end: int) -> "_Run":
        offset = self.offset + ((first - self.first) << PAGE_SHIFT)
        return _Run(first, end - first, self.memory, offset)

    def view(self, first: int, end: int) -> memoryview:
        start = self.offset + ((first - self.first) << PAGE_SHIFT)
        return self.memory[start : start + ((end - first) << PAGE_SHIFT)]


class Epc:
    """A number of pages of 4096 bytes.

    A page is private, and made when first asked for, until *placed* in memory that
    someone else maps too.  Numbers up to *limit* are of such that guests believe in.
    """

    def __init__(self, pages: int) -> None:
        self.pages = self.limit = pages
        self._runs: list[_Run] = []
        # Runs of one page, of which paging leaves very many: found without a search.
        self._ones: dict[int, _Run] = {}
        self._private: dict[int, bytearray] = {}

    def page(self, number: int) -> memoryview:
        """Return the 4096 writable bytes of a page."""
        run = self._ones.get(number)
        if run is None:
            self._check(number, 1)
            run = self._run_of(number)
        if run is not None:
            return run.view(number, number + 1)
        private = self._private.get(number)
        if private is None:
            private = self._private[number] = bytearray(PAGE_SIZE)
        return memoryview(private)

    def place(self, first: int, count: int, memory: memoryview, offset: int) -> None:
        """Let pages first..first+count-1 live in *memory* from byte *offset* on."""
        self._check(first, count)
        if offset < 0 or offset + (count << PAGE_SHIFT) > memory.nbytes:
            raise ValueError("the run does not fit its memory")
        self.unplace(first, count)
        octets = memory if memory.format == "B" else memory.cast("B")
        self._add(_Run(first, count, octets, offset))

    def _add(self, run: _Run) -> None:
        """Keep a run of pages that no other has, joined to the one before it."""
        one = self._ones.get(run.first - 1)
        if one is not None and one.goes_on_with(run):
            del self._ones[one.first]
            run = replace(one, count=1 + run.count)
        at = bisect_right(self._runs, run.first, key=_first_of)
        if at and self._runs[at - 1].goes_on_with(run):
            last = self._runs[at - 1]
            self._runs[at - 1] = replace(last, count=last.count + run.count)
        elif run.count == 1:
            self._ones[run.first] = run
        else:
            self._runs.insert(at, run)

    def unplace(self, first: int, count: int) -> None:
        """Make a run of pages private and zero again; their old memory is untouched."""
        self._check(first, count)
        if count == 1 and self._ones.pop(first, None) is not None:
            return
        end = first + count
        _drop(self._ones, first, count)
        _drop(self._private, first, count)
        at = max(bisect_right(self._runs, first, key=_first_of) - 1, 0)
        while at < len(self._runs) and self._runs[at].first < end:
            run = self._runs[at]
            kept = [
                run.part(start, stop)
                for start, stop in ((run.first, first), (end, run.end))
                if run.first <= start < stop <= run.end
            ]
            if run.end <= first:
                kept = [run]
            self._runs[at : at + 1] = kept
            at += len(kept)

    def views(self, first: int, count: int) -> Iterator[memoryview]:
        """Yield the bytes of a run of pages in as few pieces as they lie in."""
        self._check(first, count)
        number, end = first, first + count
        while number < end:
            run = None if number in self._ones else self._run_of(number)
            if run is None:
                yield self.page(number)
                number += 1
                continue
            stop = min(end, run.end)
            yield run.view(number, stop)
            number = stop

    def contents(self) -> dict[int, bytes]:
        """Return the bytes of each page that is not zero, for a snapshot."""
        numbers = {*self._private, *self._ones}
        for run in self._runs:
            numbers.update(range(run.first, run.end))
        pages = {number: bytes(self.page(number)) for number in sorted(numbers)}
        return {number: page for number, page in pages.items() if page != _ZEROS}

    def _run_of(self, number: int) -> _Run | None:
        at = bisect_right(self._runs, number, key=_first_of) - 1
        if at >= 0 and number < self._runs[at].end:
            return self._runs[at]
        return None

    def _check(self, first: int, count: int) -> None:
        if count <= 0 or first < 0 or first + count > self.limit:
            raise ValueError(f"no such pages in the EPC: {first}, {count} of them")


def _drop(pages: dict[int, Any], first: int, count: int) -> None:
    """Forget a run of pages; looks at the fewer of them and those that there are."""
    run = range(first, first + count)
    if len(pages) < count:
        found = [number for number in pages if number in run]
    else:
        found = [number for number in run if number in pages]
    for number in found:
        del pages[number]
