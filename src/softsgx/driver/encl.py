"""An enclave as the driver sees it: an open /dev/sgx_enclave, or a mapping of isgx."""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from softsgx.arch.addr import PAGE_SHIFT, PAGE_SIZE
from softsgx.arch.secinfo import PageType
from softsgx.driver.counts import Counts
from softsgx.driver.epc.account import Account, Scarce
from softsgx.driver.epc.runs import rising_run, runs_of, same_run
from softsgx.driver.paging.versions import VA_SLOT_COUNT, Versions
from softsgx.driver.uapi import PROT_RWX
from softsgx.machine.columns import CHUNK, Columns

if TYPE_CHECKING:
    from softsgx.arch.secs import Secs
    from softsgx.driver.mm import Mm
    from softsgx.driver.protocols import Backing, EnclMemory

_IN_TABLES = 1 << 3
_TYPE_SHIFT = 4
_EVICTED = 1 << 7
_AWAY = 1 << 31
"""With _EVICTED, in the column of EPC pages: a monitor has it out, and that is its."""
_WINDOW = 32 * CHUNK
IN, OUT = b"i", b"o"
"""Letters of `Encl.whereabouts`."""
_LETTERS = bytes(b"io"[info >> 7] if info else ord("-") for info in range(256))
_IN_EPC = re.compile(IN + b"+")
CLUSTER_SHIFT = 4
CLUSTER = 1 << CLUSTER_SHIFT
"""Pages, by their addresses, that leave the EPC together."""


@dataclass(frozen=True, slots=True)
class EnclPage:
    """A page the enclave has: where it is, its type, and the most a VMA may ask.

    *in_tables*: it is in Linux's page tables, if not in the native ones.  *evicted*:
    *epc_page* is the slot of its version, unless a monitor took it *away*.
    """

    epc_page: int
    type: int
    vm_max_prot: int
    in_tables: bool = False
    evicted: bool = False
    away: bool = False


@dataclass(frozen=True, slots=True)
class Stretch:
    """Neighbouring pages alike in type, cap and EPCM word, and in one EPC run."""

    index: int
    count: int
    page: EnclPage
    word: int


@dataclass
class ReclaimState:
    """What the reclaimer and the loads remember of an enclave."""

    young: set[int] = field(default_factory=set)
    """Clusters of which pages came back since the reclaimer last looked at them."""
    frames: dict[int, range] = field(default_factory=dict)
    """Pages of each TCS' state save area, once the reclaimer has met one."""
    is_stuck: bool = False
    """The backing file takes no more."""
    is_damaged: bool = False
    """A page came back as another one."""


class Encl:
    """One enclave; *mode* is the open flags of its file description.

    Pages are numbered from the base.  *words* are their EPCM states as last drained.
    *by_address*: it is of /dev/isgx.  *torn*: some mapping of it, or a part, is gone.
    """

    def __init__(
        self, memory: EnclMemory, mode: int = os.O_RDWR, *, by_address: bool = False
    ):
        self.memory = memory
        self.mode = mode
        self.by_address = by_address
        self.torn = False
        self.created = self.initialized = self.debug = False
        self.busy = False
        self.base = self.size = 0
        self.attributes = self.attributes_mask = 0
        self.is_dynamic = True
        self.backing: Backing | None = None
        self.secs = 0
        self.secs_slot: int | None = None
        """Where the SECS' version is, while it is evicted."""
        self.eid = 0
        """The EID of its ECREATE, which no other enclave of the machine gets."""
        self.measured: Secs | None = None
        """The SECS as EINIT left it."""
        self.view = memoryview(b"")
        self.page_cnt = self.secs_child_cnt = 0
        self.ssaframesize = self.xfrm = 0
        self.tcs: set[int] = set()
        """Numbers of the pages that are a TCS."""
        self.entered: set[int] = set()
        """Those of them by which a thread ever came in."""
        self.account = Account()
        """Whose it is, who has so many pages."""
        self.counts = Counts()
        """What was counted here; agents count beside it."""
        self.versions = Versions()
        self.evicted = self.away = 0
        """Pages that are not in the EPC now; those that its driver knows nothing of."""
        self.is_loading = False
        """A page comes back: the SECS has to stay."""
        self.reclaim = ReclaimState()
        self.words = Columns("H")
        self.mms: set[Mm] = set()
        self.vma_count = 0
        self._pages = Columns("IB")
        self._blocks: set[int] = set()

    @property
    def end(self) -> int:
        """The first address behind the enclave."""
        return self.base + self.size

    def counted(self) -> Counts:
        """Return all that was counted, here and by agents; those may say anything."""
        total = replace(self.counts)
        for index in self.entered:
            entries, exits, aex, *_ = self.memory.tally(index)
            total.entries += entries
            total.exits += exits
            total.aex += aex
        return total

    def changed(self, start: int, end: int, by: Mm | None) -> None:
        """Have all processes but *by* look after their rights in a range."""
        others = self.mms - {by}
        for mm in others:
            mm.fall_behind(self, start, end)
        if others:
            self.memory.new_era()

    def covers(self, addr: int) -> bool:
        """Say whether an address is inside the enclave's range."""
        return self.base <= addr < self.end

    def index(self, addr: int) -> int:
        """Return the number of the page at an address."""
        return (addr - self.base) >> PAGE_SHIFT

    def page(self, addr: int) -> EnclPage | None:
        """Return the page at an address, or None where there is none."""
        return self.numbered(self.index(addr)) if self.covers(addr) else None

    def numbered(self, index: int) -> EnclPage | None:
        """Return a page by its number from the base, or None where there is none."""
        epc_page, info = self._pages.get(index)
        return _page(epc_page, info) if info else None

    def word(self, addr: int) -> int:
        """Return the EPCM state word of the page at an address."""
        return self.words.get(self.index(addr))[0]

    def shown_words(self, index: int, count: int) -> bytes:
        """Return the state words of a run as agents see them: 0 for what is out."""
        words = self.words.column(0, index, count)
        if self.evicted:
            infos = self._pages.column(1, index, count)
            for row, info in enumerate(infos):
                words[row] *= not info & _EVICTED
        return words.tobytes()

    def contents(self, start: int, end: int) -> bytes | memoryview:
        """Return what the EPC has of a range, by offsets; zeros for what is out.

        To look at the memory of a page that is out would make it one of zeros.
        """
        if not self.evicted:
            return self.view[start:end]
        end = min(end, len(self.view))
        pieces = []
        while start < end:
            stop = min(end, (start // PAGE_SIZE + 1) * PAGE_SIZE)
            _, info = self._pages.get(start >> PAGE_SHIFT)
            out = info & _EVICTED
            pieces.append(bytes(stop - start) if out else self.view[start:stop])
            start = stop
        return b"".join(pieces)

    def whereabouts(self, index: int, count: int) -> bytes:
        """Return a letter for each of some pages: IN the EPC, OUT of it, "-": none."""
        return self._pages.column(1, index, count).tobytes().translate(_LETTERS)

    def resident(self, index: int, count: int) -> Iterator[tuple[int, array[int]]]:
        """Yield the runs of pages in the EPC: the first, and all their EPC pages."""
        for found in _IN_EPC.finditer(self.whereabouts(index, count)):
            first = index + found.start()
            yield first, self._pages.column(0, first, found.end() - found.start())

    def slots(self, index: int, count: int) -> array[int]:
        """Return the slots of the versions of pages that are out."""
        return self._pages.column(0, index, count)

    def went(self, index: int, slots: Sequence[int]) -> None:
        """Take note that pages, from number *index* on, left the EPC."""
        self._move(index, slots, _EVICTED)
        self.evicted += len(slots)
        self.secs_child_cnt -= len(slots)
        self.counts.evictions += len(slots)

    def came(self, index: int, epc_pages: Sequence[int]) -> None:
        """Take note that pages, from number *index* on, are back."""
        self._move(index, epc_pages, 0)
        self.evicted -= len(epc_pages)
        self.secs_child_cnt += len(epc_pages)
        self.counts.reloads += len(epc_pages)
        last = index + len(epc_pages) - 1
        self.reclaim.young.update(
            range(index >> CLUSTER_SHIFT, (last >> CLUSTER_SHIFT) + 1)
        )

    def sent(self, index: int, epc_pages: Sequence[int]) -> None:
        """Take note that a monitor took pages, from number *index* on, away."""
        self._move(index, [page | _AWAY for page in epc_pages], _EVICTED)
        self.evicted += len(epc_pages)
        self.away += len(epc_pages)

    def returned(self, index: int, epc_page: int) -> None:
        """Take note that a page which a monitor had taken away is back."""
        self._move(index, [epc_page], 0)
        self.evicted -= 1
        self.away -= 1
        self.reclaim.young.add(index >> CLUSTER_SHIFT)

    def _move(self, index: int, places: Sequence[int], evicted: int) -> None:
        infos = self._pages.column(1, index, len(places))
        moved = array("B", [info & ~_EVICTED | evicted for info in infos])
        self._pages.put(0, index, array("I", places))
        self._pages.put(1, index, moved)

    def set_run(self, index: int, count: int, page: EnclPage) -> None:
        """Record *count* pages, *page* the first of them, its EPC pages in a run."""
        info = page.type << _TYPE_SHIFT | page.vm_max_prot
        info |= _IN_TABLES if page.in_tables else 0
        info |= _EVICTED if page.evicted else 0
        self._pages.fill(index, count, (page.epc_page, info), (1, 0))
        if page.type == PageType.TCS:
            self.tcs.update(range(index, index + count))
            self._forget_frames(index, count)
        elif self.tcs:
            self._forget_frames(index, count)
            self.tcs.difference_update(range(index, index + count))
        self._blocks.update(range(index // CHUNK, (index + count - 1) // CHUNK + 1))

    def erase_run(self, index: int, count: int) -> None:
        """Forget *count* pages."""
        self._pages.fill(index, count, (0, 0), (0, 0))
        self._forget_frames(index, count)
        self.tcs.difference_update(range(index, index + count))

    def _forget_frames(self, index: int, count: int) -> None:
        for tcs in self.tcs.intersection(range(index, index + count)):
            self.reclaim.frames.pop(tcs, None)

    def forget_pages(self) -> None:
        """Forget all pages, as at the enclave's end."""
        self._pages, self.words = Columns("IB"), Columns("H")
        self.reclaim = ReclaimState()
        self._blocks.clear()
        self.tcs.clear()
        self.secs_child_cnt = self.evicted = self.away = 0

    def settle(self) -> None:
        """Give back what it has of its account: it is gone."""
        self.account.give(Scarce.PAGES, self.page_cnt)
        self.account.give(Scarce.ADDRESSES, self.size >> PAGE_SHIFT)

    def lose(self) -> None:
        """Give back what is kept for it elsewhere: its machine is gone."""
        self.settle()
        self.account = Account()
        if self.backing is not None:
            self.backing.close()
            self.backing = None

    def absent_run(self, index: int, count: int) -> int:
        """Return how many of *count* pages, from the first on, do not exist."""
        infos = self._pages.column(1, index, count)
        return 0 if infos[0] else same_run(infos, 0, count)

    def caps(self, start: int, end: int) -> set[int]:
        """Return the VMA caps of the pages that exist in a range of addresses."""
        start, end = max(start, self.base), min(end, self.end)
        if start >= end:
            return set()
        first, stop = self.index(start), self.index(end - 1) + 1
        infos: set[int] = set()
        for block in self._blocks_in(first, stop):
            low, high = max(first, block * CHUNK), min(stop, (block + 1) * CHUNK)
            infos.update(self._pages.column(1, low, high - low))
        return {info & PROT_RWX for info in infos if info}

    def stretches(self, index: int, count: int) -> Iterator[Stretch]:
        """Cut a range of pages into stretches; pages already yielded may change.

        Absent pages have type SECS, which no page of an enclave has.
        """
        at, end = index, index + count
        for first, size in runs_of(sorted(self._blocks_in(index, end))):
            start, stop = max(at, first * CHUNK), min(end, (first + size) * CHUNK)
            if at < start:
                yield Stretch(at, start - at, _page(0, 0), 0)
            for low in range(start, stop, _WINDOW):
                yield from self._window(low, min(_WINDOW, stop - low))
            at = stop
        if at < end:
            yield Stretch(at, end - at, _page(0, 0), 0)

    def pages_in_use(self, first: int = 0) -> Iterator[Stretch]:
        """Yield the stretches of pages that exist, from page number *first* on."""
        for block in sorted(self._blocks):
            start, stop = max(first, block * CHUNK), (block + 1) * CHUNK
            for stretch in self._window(start, stop - start):
                if stretch.page.type != PageType.SECS:
                    yield stretch

    def _window(self, index: int, count: int) -> Iterator[Stretch]:
        epc_pages = self._pages.column(0, index, count)
        infos = self._pages.column(1, index, count)
        words = self.words.column(0, index, count)
        at = 0
        while at < count:
            stop = at + same_run(infos, at, count)
            stop = at + same_run(words, at, stop)
            while at < stop:
                step = rising_run(epc_pages, at, stop) if infos[at] else stop - at
                page = _page(epc_pages[at], infos[at])
                yield Stretch(index + at, step, page, words[at])
                at += step

    def _blocks_in(self, first: int, stop: int) -> Iterator[int]:
        """Yield, in any order, the blocks of a range that ever had a page."""
        blocks = range(first // CHUNK, (stop - 1) // CHUNK + 1)
        few, many = sorted((blocks, self._blocks), key=len)
        return (block for block in few if block in many)

    def va_needed(self, count: int) -> int:
        """Return how many VA pages must be added before *count* more pages."""
        return -(-(self.page_cnt + count) // VA_SLOT_COUNT) - -(
            -self.page_cnt // VA_SLOT_COUNT
        )

    def fitting(self, count: int, free: int) -> int:
        """Return how many of *count* pages *free* EPC pages hold, VA pages too."""
        low, high = 0, min(count, free)
        while low < high:
            middle = (low + high + 1) // 2
            if middle + self.va_needed(middle) <= free:
                low = middle
            else:
                high = middle - 1
        return low


@lru_cache(maxsize=1024)
def _page(epc_page: int, info: int) -> EnclPage:
    in_tables, evicted = bool(info & _IN_TABLES), bool(info & _EVICTED)
    page_type, cap = (info & ~_EVICTED) >> _TYPE_SHIFT, info & PROT_RWX
    away = evicted and bool(epc_page & _AWAY)
    return EnclPage(epc_page & ~_AWAY, page_type, cap, in_tables, evicted, away)
