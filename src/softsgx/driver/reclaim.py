"""The reclaimer: which pages leave the EPC when it is full.

Linux's sgx_reclaim_pages, 16 pages at a time between two watermarks.  It asks the
page tables which pages were used; nobody tells us, so a page is young when it was
loaded since the hand came by last.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from softsgx.arch.secinfo import PageType
from softsgx.driver.encl import Encl
from softsgx.driver.paging import write_out
from softsgx.machine.columns import Columns
from softsgx.machine.epcm import EpcmBits

if TYPE_CHECKING:
    from softsgx.driver.core import Core

NR_TO_SCAN = 16
LOW_PAGES = 32
HIGH_PAGES = 64

_KINDS = frozenset({PageType.REG, PageType.TCS, PageType.TRIM})
_WINDOW = 256
_VALID = int(EpcmBits.VALID)


class Reclaimer:
    """A hand that goes round the EPC; what was loaded lately it lets be once."""

    def __init__(self, core: "Core"):
        self._core = core
        self._hand = 0
        self._young = Columns("B")

    def loaded(self, epc_page: int) -> None:
        """Take note that a page came back: somebody needs it."""
        self._young.set(epc_page, (1,))

    def reclaim(self, wanted: int) -> None:
        """Evict pages until *wanted* and some more are free, or none can go."""
        section = self._core.section
        goal = min(wanted + HIGH_PAGES, section.pages // 2)
        turn = self._turn()
        while section.free < max(goal, wanted):
            chosen: list[tuple[Encl, int]] = []
            for encl, index in turn:
                chosen.append((encl, index))
                if len(chosen) == NR_TO_SCAN:
                    break
            if not chosen:
                return
            self._write_out(chosen)

    def _write_out(self, chosen: list[tuple[Encl, int]]) -> None:
        by_encl: dict[Encl, list[int]] = {}
        for encl, index in chosen:
            by_encl.setdefault(encl, []).append(index)
        for encl, indices in by_encl.items():
            write_out(self._core, encl, indices)

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
        """Yield the pages of a window that may be evicted; the young ones grow old."""
        states = self._core.machine.epcm.states(first, count)
        young = self._young.column(0, first, count)
        self._young.fill(first, count, (0,), (0,))
        for row, state in enumerate(states):
            if state & _VALID and state >> 8 in _KINDS and not young[row]:
                yield first + row

    def _owner(self, page: int) -> tuple[Encl, int] | None:
        """Return whose page it is and which; None if it may not go, or went."""
        entry = self._core.machine.epcm[page]
        if not entry.valid or entry.pt not in _KINDS:
            return None
        encl = self._core.by_secs[entry.enclavesecs]
        if not all(mm.tables.can_evict for mm in encl.mms):
            return None
        return encl, encl.index(entry.enclaveaddress)
