"""Code in enclaves: breakpoints over ENCLU and CPUID, in pages that really run.

CPUID is #UD inside an enclave, and where it does not trap a breakpoint makes it; so
with a few others.  To know code from data, a page that may be executed and has the
bytes of one, or may also be written, is not executable natively until the enclave
executes it.  Then it is decoded from there; and as long as it runs, it cannot be
written without us.

The handler of a #UD looks at the instruction.  So when a breakpoint traps, the byte
that was there comes back, and a second breakpoint waits behind the instruction for the
thread to go on: a window.  Meanwhile a third one, before it, holds other threads back.

XGETBV and the XSAVE family obey XFRM inside.  Where that is less than XCR0 they become
HLT, and the agent executes them with less: nobody sees that they trapped.
"""

import errno
from collections.abc import Callable, Iterable, Iterator
from time import monotonic

from softsgx.arch.addr import PAGE_SHIFT, PAGE_SIZE
from softsgx.arch.secinfo import PageType
from softsgx.driver.encl import Encl, EnclPage
from softsgx.driver.mapping import Extent
from softsgx.driver.uapi import PROT_EXEC, PROT_WRITE
from softsgx.machine.epc import Epc
from softsgx.native.abi import Trap
from softsgx.runner.code.enclave_marks import Marks, Window
from softsgx.runner.code.flow import (
    MARGIN,
    SUSPECT,
    SUSPECT_SIZE,
    Site,
    Wanted,
    judge,
)
from softsgx.runner.code.host_code import HLT, INT3
from softsgx.runner.code.surroundings import (
    called,
    ends_in_suspect,
    is_in,
    suspects,
    within,
)

_OURS = frozenset({INT3, HLT})
MOST_SWAPS = 8
"""How often a page may change between written and run, until it is let be."""
LONGEST_WINDOW = 2.0
"""Seconds that other threads wait at a window."""
MOST_ENTRIES = 64
"""Places in a page that are kept, where instructions are known to begin."""

Resident = Callable[[Encl, int], EnclPage | None]
"""What finds the page of an enclave at an address, and brings it into the EPC."""


class EnclaveCode:
    """All breakpoints in enclaves, and what of their memory runs."""

    def __init__(
        self,
        epc: Epc,
        resident: Resident = Encl.page,
        *,
        cpuid: bool,
        is_narrow: Callable[[Encl], bool] | None = None,
    ):
        self._epc = epc
        self._resident = resident
        self._always = Wanted.UNDEFINED if cpuid else Wanted(0)
        self._is_narrow = is_narrow
        self._enclaves: dict[Encl, Marks] = {}

    def _wanted(self, encl: Encl) -> Wanted:
        return self._always | (
            Wanted.STATE if self._is_narrow and self._is_narrow(encl) else 0
        )

    def forget(self, encl: Encl) -> None:
        """Drop what is known of an enclave that is gone."""
        self._enclaves.pop(encl, None)

    # ---- breakpoints ----

    def patch_enclu(self, encl: Encl, address: int, expected: bytes) -> None:
        """Replace an ENCLU that trapped; OSError if something else is there."""
        cell = self._cell(encl, address)
        at = address % PAGE_SIZE
        if cell is None or bytes(cell[at : at + len(expected)]) != expected:
            raise OSError(errno.EINVAL, "something else stands there")
        page = self._of(encl).page(encl.index(address))
        page.originals[at] = cell[at]
        cell[at] = HLT

    def is_site(self, encl: Encl, address: int, *, forbidden: bool) -> bool:
        """Say whether a breakpoint is ours, and stands for a forbidden instruction."""
        page = self._of(encl).pages.get(encl.index(address))
        at = address % PAGE_SIZE
        return (
            page is not None
            and at in page.originals
            and (at in page.forbidden) == forbidden
        )

    def ends_window(self, encl: Encl, address: int) -> bool:
        """Say whether a breakpoint waits there for the end of a handler."""
        windows = self._of(encl).windows.values()
        return any(address in window.saved for window in windows)

    def original(self, encl: Encl, address: int, data: bytes) -> bytes:
        """Return what an enclave's memory would be without us, from what it is."""
        known = self._enclaves.get(encl)
        if known is None or not data:
            return data
        out = bytearray(data)
        first = encl.index(address)
        for index in range(first, encl.index(address + len(data) - 1) + 1):
            page = known.pages.get(index)
            for at, byte in page.originals.items() if page else ():
                where = encl.base + (index << PAGE_SHIFT) + at - address
                if 0 <= where < len(out) and out[where] in _OURS:
                    out[where] = byte
        for window in known.windows.values():
            for where, byte in window.saved.items():
                if 0 <= where - address < len(out) and out[where - address] == INT3:
                    out[where - address] = byte
        return bytes(out)

    def copied(self, encl: Encl, source: int, target: int) -> None:
        """Take out of a page what is ours of the page that it is a copy of."""
        cell = self._cell(encl, target)
        if cell is not None:
            cell[:] = self._read(encl, source, PAGE_SIZE)

    def patched(self, encl: Encl, address: int, data: bytes) -> bytes:
        """Return what to write where a debugger writes: our bytes stay over theirs.

        Where it writes something new, that is what stands there from now on.
        """
        known = self._enclaves.get(encl)
        out = bytearray(data)
        for index, page in known.pages.items() if known else ():
            for at, byte in list(page.originals.items()):
                where = encl.base + (index << PAGE_SHIFT) + at - address
                cell = (
                    self._cell(encl, address + where) if 0 <= where < len(out) else None
                )
                if cell is None:
                    continue
                if out[where] != byte:
                    del page.originals[at]
                    page.forbidden.pop(at, None)
                else:
                    out[where] = cell[at]
        return bytes(out)

    def places(self, encl: Encl, address: int) -> set[int]:
        """Return the addresses that `trap` and `resumed` look at."""
        at = address % PAGE_SIZE
        return self._of(encl).places(address, encl.index(address), at)

    def trap(self, encl: Encl, address: int, tid: int) -> Trap:
        """Judge a breakpoint that a thread met inside; opens and closes windows."""
        for site, window in list(self._of(encl).windows.items()):
            if address != site and address not in window.saved:
                continue
            if window.tid != tid and monotonic() < window.opened + LONGEST_WINDOW:
                return Trap.WAIT
            self._close(encl, site)
        if self.is_site(encl, address, forbidden=True):
            self._open(encl, address, tid)
            return Trap.FORBIDDEN
        cell = self._cell(encl, address)
        stays = cell is None or cell[address % PAGE_SIZE] == INT3
        return Trap.FOREIGN if stays else Trap.AGAIN

    def resumed(self, encl: Encl, address: int) -> None:
        """Take note that a thread is about to execute what was let be."""
        if address in self._of(encl).windows:
            self._close(encl, address)

    def _open(self, encl: Encl, address: int, tid: int) -> None:
        known = self._of(encl)
        page = known.page(encl.index(address))
        at = address % PAGE_SIZE
        size, before = page.forbidden[at]
        saved = {}
        # Others wait before it; who is between there and it runs it.
        for place in (address - before, address + size):
            cell = self._cell(encl, place)
            around = known.pages.get(encl.index(place))
            if cell is not None and around and around.runs and place != address:
                saved[place] = cell[place % PAGE_SIZE]
        if address + size not in saved:
            return
        for place, byte in saved.items():
            self._put(encl, place, byte, INT3)
        known.windows[address] = Window(tid, monotonic(), saved)
        self._put(encl, address, INT3, page.originals[at])

    def _close(self, encl: Encl, site: int) -> None:
        known = self._of(encl)
        window = known.windows.pop(site)
        page = known.pages.get(encl.index(site))
        byte = page.originals.get(site % PAGE_SIZE) if page else None
        if byte is not None:
            self._put(encl, site, byte, INT3)
        for place, original in window.saved.items():
            self._put(encl, place, INT3, original)

    def _put(self, encl: Encl, address: int, old: int, new: int) -> None:
        cell, at = self._cell(encl, address), address % PAGE_SIZE
        if cell is not None and cell[at] == old:
            cell[at] = new

    # ---- what runs ----

    def runnable(self, extents: Iterable[Extent]) -> Iterator[Extent]:
        """Take from native protections what a page may not have as long as it runs."""
        for extent in extents:
            known = self._enclaves.get(extent.encl)
            if extent.prot & PROT_EXEC and self._wanted(extent.encl):
                yield from self._split(extent)
                continue
            if known and not extent.prot & PROT_EXEC:
                for index in within(known.pages, extent):
                    self._stop(extent.encl, index)
            yield extent

    def _split(self, extent: Extent) -> Iterator[Extent]:
        """Cut an executable extent at the pages that are special."""
        encl, known = extent.encl, self._of(extent.encl)
        usual = extent.prot
        if usual & PROT_WRITE:
            usual &= ~PROT_EXEC
            special = dict.fromkeys(within(known.pages, extent), extent.prot)
            for index in special:
                page = known.pages[index]
                if page.swaps <= MOST_SWAPS:
                    keeps = PROT_WRITE if page.runs else PROT_EXEC
                    special[index] &= ~keeps
        else:
            special = {
                index: usual & ~PROT_EXEC
                for index in suspects(extent, self._wanted(encl))
                if not known.page(index).runs
            }
        at = extent.start
        for index in sorted(special):
            start = encl.base + (index << PAGE_SHIFT)
            if at < start:
                yield Extent(at, start, usual, encl)
            at = start + PAGE_SIZE
            yield Extent(start, at, special[index], encl)
        if at < extent.end:
            yield Extent(at, extent.end, usual, encl)

    def fetched(self, encl: Encl, address: int, rip: int) -> None:
        """Let a page run that an instruction at *rip*, in it or before it, needs."""
        if not self._wanted(encl):
            return
        page = self._of(encl).page(encl.index(address))
        page.runs = True
        todo = {encl.index(address): page.entries}
        began = self._of(encl).pages.get(encl.index(rip)) if encl.covers(rip) else None
        if began and began.runs:
            # An instruction in two pages can be judged now that both are here.
            began.entries.add(rip)
            todo[encl.index(rip)] = began.entries
        while todo:
            index, entries = todo.popitem()
            for place in self._judge(encl, index, entries):
                if self._is_news(encl, place):
                    todo.setdefault(encl.index(place), set()).add(place)

    def _judge(self, encl: Encl, index: int, entries: set[int]) -> set[int]:
        """Look through a page that runs, from *entries* on; return where it leads."""
        start = encl.base + (index << PAGE_SHIFT)
        low = max(encl.base, start - MARGIN)
        first = start - low
        last = first + PAGE_SIZE
        self._bring(encl, index)
        # What is not there is no zeros: they would be instructions.
        margin = MARGIN if is_in(encl, index + 1) else 0
        code = self._read(encl, low, last + margin)
        wanted = self._wanted(encl)
        has_some = SUSPECT[wanted].search(code, first, last + SUSPECT_SIZE - 1)
        if not has_some or not is_in(encl, index):
            return set()
        found = judge(
            code,
            (first, last),
            [entry - low for entry in entries],
            lambda place, size: self._table(encl, low + place, size),
            lambda: [place - low for place in called(encl, index, self._table)],
            wanted,
        )
        for at, site in found.sites.items():
            self._forbid(encl, low + at, site)
        for at in found.state:
            self._break(encl, low + at, HLT)
        return {low + place for place in found.leaves}

    def _bring(self, encl: Encl, index: int) -> None:
        """Bring a page into the EPC, and the next where that matters."""
        start = encl.base + (index << PAGE_SHIFT)
        self._resident(encl, start)
        if ends_in_suspect(encl, index):
            self._resident(encl, start + PAGE_SIZE)
            self._resident(encl, start)

    def _table(self, encl: Encl, address: int, size: int) -> bytes:
        """Return what code may read there; nothing, if it is not to be had."""
        for page in range(address & -PAGE_SIZE, address + size, PAGE_SIZE):
            if self._resident(encl, page) is None:
                return b""
        return self._read(encl, address, size)

    def _is_news(self, encl: Encl, address: int) -> bool:
        """Note where an instruction begins; say whether its page must be looked at."""
        page = self._of(encl).pages.get(encl.index(address))
        if page is None or len(page.entries) >= MOST_ENTRIES:
            return False
        is_new = address not in page.entries
        page.entries.add(address)
        return is_new and page.runs

    def _read(self, encl: Encl, address: int, size: int) -> bytes:
        """Return what an enclave has there without us; less at its end."""
        at = address - encl.base
        if at < 0:
            return b""
        return self.original(encl, address, bytes(encl.contents(at, at + size)))

    def _forbid(self, encl: Encl, address: int, site: Site) -> None:
        if self._break(encl, address, INT3):
            page = self._of(encl).page(encl.index(address))
            page.forbidden[address % PAGE_SIZE] = site

    def _break(self, encl: Encl, address: int, byte: int) -> bool:
        cell, at = self._cell(encl, address), address % PAGE_SIZE
        page = self._of(encl).page(encl.index(address))
        if cell is None or at in page.originals:
            return False
        page.originals[at] = cell[at]
        cell[at] = byte
        return True

    def written(self, encl: Encl, address: int, rip: int) -> None:
        """Let a page be written that ran: it must be judged again.

        One that is let be keeps its breakpoints, where nothing is written over them.
        """
        known = self._enclaves.get(encl)
        index = encl.index(address)
        if known is None or index not in known.pages:
            return
        page = known.pages[index]
        if not page.runs or page.swaps > MOST_SWAPS:
            return
        page.swaps += 1
        # What writes to the page that it runs in needs both.
        if encl.covers(rip) and encl.index(rip) == index:
            page.swaps = MOST_SWAPS + 1
        if page.swaps <= MOST_SWAPS:
            self._stop(encl, index)

    def _stop(self, encl: Encl, index: int) -> None:
        """Make a page what it would be without us."""
        known = self._of(encl)
        page = known.pages.get(index)
        if page is None:
            return
        for site, window in list(known.windows.items()):
            if index in {encl.index(place) for place in (site, *window.saved)}:
                self._close(encl, site)
        start = encl.base + (index << PAGE_SHIFT)
        if page.originals and self._resident(encl, start) is None:
            return  # It comes back before anybody sees it.
        for at, byte in page.originals.items():
            self._put(encl, start + at, INT3, byte)
            self._put(encl, start + at, HLT, byte)
        page.originals.clear()
        page.forbidden.clear()
        page.entries.clear()
        page.runs = False

    def _cell(self, encl: Encl, address: int) -> memoryview | None:
        """Return the EPC page at an address, if it can have code."""
        page = self._resident(encl, address)
        if page is None or page.type != PageType.REG:
            return None
        return self._epc.page(page.epc_page)

    def _of(self, encl: Encl) -> Marks:
        return self._enclaves.setdefault(encl, Marks())
