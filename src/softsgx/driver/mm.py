"""The enclave mappings of an address space, with the protections that were asked.

What the CPU may do is less: see `effective`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from softsgx.driver.protocols import NoTables, Tables

if TYPE_CHECKING:
    from softsgx.driver.encl import Encl


@dataclass(slots=True, eq=False)
class Vma:
    """A mapping of an enclave: addresses, protection, and the most mprotect may ask.

    *origin*: where the file would begin, of one whose pages are found by its offset.
    """

    start: int
    end: int
    prot: int
    encl: Encl
    may_prot: int
    origin: int = 0


class Mm:
    """One address space, of the process *owner*; it knows enclave mappings only."""

    def __init__(self, *, owner: int = 0, read_implies_exec: bool = False):
        self.owner = owner
        self.read_implies_exec = read_implies_exec
        self.vmas: list[Vma] = []
        self.encls: set[Encl] = set()
        """Enclaves that it maps or has mapped, as far as there still are any."""
        self._by_encl: dict[Encl, set[Vma]] = {}
        self._unmapped: set[Encl] = set()
        self.tables: Tables = NoTables()
        self._behind: dict[Encl, tuple[int, int]] = {}
        """Where another process changed rights, and this one has not heard of it."""

    def find(self, addr: int) -> Vma | None:
        """Return the enclave mapping that covers an address."""
        at = bisect_right(self.vmas, addr, key=_start) - 1
        return self.vmas[at] if at >= 0 and addr < self.vmas[at].end else None

    def overlapping(self, start: int, end: int) -> list[Vma]:
        """Return the mappings that a range touches, lowest first."""
        low = bisect_right(self.vmas, start, key=_end)
        high = bisect_left(self.vmas, end, key=_start)
        return self.vmas[low:high]

    def of(self, encl: Encl) -> list[Vma]:
        """Return the mappings of an enclave, lowest first."""
        return sorted(self._by_encl.get(encl, ()), key=_start)

    def take_unmapped(self) -> list[Encl]:
        """Return the enclaves of which the last mapping went since this was asked."""
        gone = [encl for encl in self._unmapped if encl not in self._by_encl]
        self._unmapped.clear()
        return gone

    def forget(self, encl: Encl) -> None:
        """Forget an enclave that is gone; none of its mappings is left."""
        self.encls.discard(encl)
        self._unmapped.discard(encl)
        self._behind.pop(encl, None)
        encl.mms.discard(self)

    def carve(self, start: int, end: int) -> Iterator[Vma]:
        """Yield the mappings in a range, cut at the range's ends as their turn comes.

        A caller that stops has cut no later one.
        """
        for vma in self.overlapping(start, end):
            yield self._cut(vma, max(vma.start, start), min(vma.end, end))

    def add(self, vma: Vma) -> None:
        """Map, in place of whatever enclave mapping was there."""
        self.remove(vma.start, vma.end)
        self._insert(vma)
        self.encls.add(vma.encl)
        vma.encl.mms.add(self)

    def remove(self, start: int, end: int) -> None:
        """Unmap a range; where nothing is mapped, nothing happens."""
        gone = list(self.carve(start, end))
        at = bisect_left(self.vmas, start, key=_start)
        del self.vmas[at : at + len(gone)]
        for vma in gone:
            self._leave(vma)
            vma.encl.torn = True

    def give(self, vma: Vma, encl: Encl) -> None:
        """Let a mapping be of another enclave: of the one that was just made for it."""
        self._leave(vma)
        vma.encl = encl
        self._join(vma)
        self.encls.add(encl)
        encl.mms.add(self)

    def fork(self) -> Mm:
        """Return the child's copy; the child joins the same enclaves, but isgx's."""
        child = Mm(owner=self.owner, read_implies_exec=self.read_implies_exec)
        for vma in self.vmas:
            if not vma.encl.by_address:
                child.add(replace(vma))
        return child

    def fall_behind(self, encl: Encl, start: int, end: int) -> None:
        """Take note that rights in a range of an enclave may not be what they were."""
        low, high = self._behind.get(encl, (start, end))
        self._behind[encl] = min(low, start), max(high, end)

    def catch_up(self) -> list[tuple[int, int]]:
        """Return the ranges of which that was noted, which it hears of now."""
        ranges = list(self._behind.values())
        self._behind.clear()
        return ranges

    def clear(self) -> None:
        """Unmap everything and leave all enclaves, as exec and exit do."""
        for vma in self.vmas:
            self._leave(vma)
        self.vmas.clear()
        for encl in self.encls:
            encl.mms.discard(self)
        self.encls.clear()
        self._behind.clear()

    def _insert(self, vma: Vma) -> None:
        self.vmas.insert(bisect_left(self.vmas, vma.start, key=_start), vma)
        self._join(vma)

    def _join(self, vma: Vma) -> None:
        self._by_encl.setdefault(vma.encl, set()).add(vma)
        vma.encl.vma_count += 1

    def _leave(self, vma: Vma) -> None:
        """Take a mapping off its enclave's."""
        own = self._by_encl[vma.encl]
        own.remove(vma)
        if not own:
            del self._by_encl[vma.encl]
            self._unmapped.add(vma.encl)
        vma.encl.vma_count -= 1

    def _cut(self, vma: Vma, start: int, end: int) -> Vma:
        """Shrink a mapping to a range inside it; what is left over becomes others."""
        if vma.start < start:
            head = replace(vma, end=start)
            vma.start = start
            self._insert(head)
        if end < vma.end:
            tail = replace(vma, start=end)
            vma.end = end
            self._insert(tail)
        return vma


def _start(vma: Vma) -> int:
    return vma.start


def _end(vma: Vma) -> int:
    return vma.end
