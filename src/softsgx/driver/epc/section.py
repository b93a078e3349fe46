"""The EPC's free pages, handed out and taken back as runs, and charged to cgroups.

Overcommit: where pages cannot leave running processes, the machine's EPC has more pages
than its CPUID reports; what lies beyond the reported size stands in for pages that
would have been evicted to memory and loaded back.
"""

import errno
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from itertools import accumulate

from softsgx.arch.addr import PAGE_SIZE
from softsgx.driver.epc.cgroup import EpcCgroups
from softsgx.driver.errnos import refuse
from softsgx.machine.epc import Epc
from softsgx.machine.machine import Machine

SPARE_BYTES = 64 << 30
"""Room for pages that hardware would have evicted; it costs nothing until used."""

Run = tuple[int, int]
"""First EPC page and number of pages."""


class Section:
    """Free pages of one EPC section; *reported* of its *pages* show in CPUID.

    *places* is where in the machine's EPC they are: a guest's may lie in many runs.
    """

    def __init__(
        self, places: Iterable[Run], reported: int, cgroups: EpcCgroups | None = None
    ):
        self.places = sorted(run for run in places if run[1])
        self._numbers = [0, *accumulate(count for _, count in self.places)]
        self.pages = self.free = self._numbers[-1]
        self.reported = reported
        self.cgroups = cgroups or EpcCgroups()
        self._runs = list(self.places)

    def place(self, number: int, count: int) -> Run:
        """Return where pages are, counted in the section: as many as lie in a run."""
        at = bisect_right(self._numbers, number) - 1
        first, size = self.places[at]
        skipped = number - self._numbers[at]
        return first + skipped, min(count, size - skipped)

    @property
    def overcommitted(self) -> int:
        """Pages in use that hardware would keep evicted."""
        return max(0, self.pages - self.free - self.reported)

    @property
    def room(self) -> int:
        """Pages that the current cgroup can have now."""
        return min(self.free, self.cgroups.current().room)

    def alloc_run(self, count: int, *, listed: bool = True) -> list[Run]:
        """Take *count* pages, lowest first, in as few runs as there are; or ENOMEM.

        They are charged to the current cgroup, if *listed* as ones that can be evicted.
        """
        if count > self.free:
            raise refuse(errno.ENOMEM, f"{count} EPC pages asked, {self.free} free")
        self.cgroups.check_room(count)
        self.free -= count
        taken: list[Run] = []
        used = 0
        while count:
            first, size = self._runs[used]
            part = min(size, count)
            taken.append((first, part))
            count -= part
            if part == size:
                used += 1
            else:
                self._runs[used] = (first + part, size - part)
        del self._runs[:used]
        for first, size in taken:
            self.cgroups.charge(first, size, listed=listed)
        return taken

    def withhold(self, count: int) -> None:
        """Leave the first *count* pages of a fresh section to others, for good."""
        self.free -= count
        self._runs = [(count, self.free)] if self.free else []

    def alloc(self, *, listed: bool = True) -> int:
        """Take one page; or ENOMEM."""
        return self.alloc_run(1, listed=listed)[0][0]

    def give(self, first: int, count: int = 1) -> None:
        """Take a run back, and join it with its free neighbours."""
        at = bisect_left(self._runs, (first, 0))
        start, end, low, high = first, first + count, at, at
        if at > 0 and sum(self._runs[at - 1]) >= first:
            low, start = at - 1, self._runs[at - 1][0]
            if sum(self._runs[low]) > first:
                raise AssertionError(f"EPC page {first} is free already")
        if at < len(self._runs) and self._runs[at][0] <= end:
            if self._runs[at][0] < end:
                raise AssertionError(f"EPC page {self._runs[at][0]} is free already")
            high, end = at + 1, sum(self._runs[at])
        self._runs[low:high] = [(start, end - start)]
        self.free += count
        self.cgroups.uncharge(first, count)


def add_spare(machine: Machine, spare: int = SPARE_BYTES) -> None:
    """Give a fresh machine *spare* bytes of EPC beyond what its model reports."""
    machine.epc = Epc(machine.model.epc_pages + spare // PAGE_SIZE)
