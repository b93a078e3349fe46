"""The reclaimer: which pages leave the EPC when it is full.

Linux's sgx_reclaim_pages, 16 pages at a time, some more than are wanted.  Linux asks
the page tables which pages were used; nobody tells us, so a page is young when it was
loaded since the hand came by last.
"""

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from softsgx.arch.secinfo import PageType
from softsgx.driver.encl import Encl
from softsgx.driver.epc_cgroup import Cgroup
from softsgx.driver.paging import write_out
from softsgx.machine.columns import Columns
from softsgx.machine.epcm import EpcmBits

if TYPE_CHECKING:
    from softsgx.driver.core import Core

NR_TO_SCAN = 16
MORE_PAGES = 64

_KINDS = frozenset({PageType.REG, PageType.TCS, PageType.TRIM})
_WINDOW = 256
_MOST_IN_VAIN = 64
"""How often to try in other places when nothing of what was chosen could go."""
_LCG_FACTOR, _LCG_MASK = 6364136223846793005, (1 << 64) - 1
_VALID = int(EpcmBits.VALID)


class Reclaimer:
    """A hand that goes round the EPC; what was loaded lately it lets be once."""

    def __init__(self, core: "Core"):
        self._core = core
        self._hand = 0
        self._seed = 0
        self._young = Columns("B")

    def loaded(self, epc_page: int) -> None:
        """Take note that a page came back: somebody needs it."""
        self._young.set(epc_page, (1,))

    def reclaim(self, wanted: int) -> None:
        """Evict pages until *wanted* and some more are free, or none can go."""
        section = self._core.section
        goal = max(wanted, min(wanted + MORE_PAGES, section.pages // 2))
        vain = 0
        while section.free < goal and vain < _MOST_IN_VAIN:
            chosen = set(islice(self._turn(), NR_TO_SCAN))
            if not chosen:
                return
            vain = 0 if self._write_out(chosen) else vain + 1
            self._leap()

    def reclaim_within(self, cgroup: Cgroup) -> int:
        """Evict up to 16 pages of a cgroup and all below it; return how many went."""
        for _ in range(_MOST_IN_VAIN):
            chosen = set(islice(self._charged_to(cgroup), NR_TO_SCAN))
            if not chosen:
                return 0
            gone = self._write_out(chosen)
            if gone:
                return gone
        return 0

    def _charged_to(self, cgroup: Cgroup) -> Iterator[tuple[Encl, int]]:
        """Yield what may go of a cgroup's, in two rounds, from somewhere on."""
        self._leap()
        for _ in range(2):
            for page in self._core.cgroups.listed(cgroup, self._hand):
                owner = None if self._is_young(page) else self._owner(page)
                if owner is not None:
                    yield owner

    def _is_young(self, page: int) -> bool:
        """Say whether a page came back lately; asked again, it did not."""
        is_young = self._young.get(page) != (0,)
        if is_young:
            self._young.set(page, (0,))
        return is_young

    def _leap(self) -> None:
        """Go on somewhere else.

        A program that goes round more than the EPC holds would find every page gone, if
        pages went in the order in which they came.
        """
        self._seed = self._seed * _LCG_FACTOR + 1 & _LCG_MASK
        self._hand = (self._seed >> 33) % self._core.section.pages

    def _write_out(self, chosen: set[tuple[Encl, int]]) -> int:
        by_encl: dict[Encl, list[int]] = {}
        for encl, index in chosen:
            by_encl.setdefault(encl, []).append(index)
        return sum(write_out(self._core, *each) for each in by_encl.items())

    def _turn(self) -> Iterator[tuple[Encl, int]]:
        """Yield what may go, in two rounds of the EPC: after one, all is old."""
        pages = self._core.section.pages
        left = 2 * pages
        while left > 0:
            first = self._hand
            count = min(_WINDOW, pages - first, left)
            for page in self._old(first, count):
                self._hand = (page + 1) % pages
                owner = self._owner(page)
                if owner is not None:
                    yield owner
            self._hand = (first + count) % pages
            left -= count

    def _old(self, first: int, count: int) -> Iterator[int]:
        """Yield the pages of a window that may go; the young ones grow old."""
        states = self._core.machine.epcm.states(first, count)
        young = self._young.column(0, first, count)
        for row, state in enumerate(states):
            if not state & _VALID or state >> 8 not in _KINDS:
                continue
            if young[row]:
                self._young.set(first + row, (0,))
            else:
                yield first + row

    def _owner(self, page: int) -> tuple[Encl, int] | None:
        """Return whose page it is and which; None if it may not go, or went."""
        entry = self._core.machine.epcm[page]
        if not entry.valid or entry.pt not in _KINDS:
            return None
        encl = self._core.by_secs.get(entry.enclavesecs)
        if encl is None or not all(mm.tables.can_evict for mm in encl.mms):
            return None
        return encl, encl.index(entry.enclaveaddress)
