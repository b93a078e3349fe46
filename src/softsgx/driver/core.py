"""What all of the driver stands on: the EPC given out, the leaves, the news of EPCM."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from softsgx.arch.addr import PAGE_SHIFT
from softsgx.driver.counts import Counts
from softsgx.driver.cpu import Cpu
from softsgx.driver.encl import Encl, Stretch
from softsgx.driver.epc.account import Account, Scarce
from softsgx.driver.epc.cgroup import EpcCgroups
from softsgx.driver.epc.hierarchy import Hierarchy
from softsgx.driver.epc.runs import runs_of
from softsgx.driver.epc.sanitize import sanitize
from softsgx.driver.epc.section import Run, Section
from softsgx.driver.gate import Gate, StockGate
from softsgx.driver.kernel import Kernel
from softsgx.driver.mapping import granted
from softsgx.driver.paging.reclaim import Reclaimer
from softsgx.driver.protocols import Backing
from softsgx.encls.run import eremove_run
from softsgx.machine.epcm import EpcmEntry
from softsgx.machine.machine import Machine

if TYPE_CHECKING:
    from softsgx.driver.paging.pager import Pager

Changed = tuple[Encl, int, int]
"""An enclave, and where it changed: offset and length, in bytes or in pages."""


def _stay(encl: Encl) -> None:
    del encl


def _nobody_leaves() -> None:
    return None


@dataclass(frozen=True)
class GuestParts:
    """What the driver of a guest's Linux has in place of the machine's own.

    *cpu*: the processor as it finds it; *runs*: which of the EPC's pages are its own.
    """

    cpu: Cpu
    kernel: Kernel
    runs: Sequence[Run]


class Core:
    """One machine's EPC, emptied first; *pages*: when it is full, pages are evicted.

    *gate* is the owner's policy, asked before each EINIT.  *bring_out* is
    told when threads inside an enclave are owed an interrupt (Linux's IPI).
    """

    def __init__(
        self,
        machine: Machine,
        *,
        pages: bool = False,
        hierarchy: Hierarchy | None = None,
        guest: GuestParts | None = None,
    ):
        self.machine = machine
        self.cpu: Cpu = guest.cpu if guest else machine
        self.cgroups = EpcCgroups(hierarchy)
        runs = guest.runs if guest else [(0, machine.epc.pages)]
        shown = self.cpu.model.epc_pages
        self.section = Section(runs, shown, self.cgroups)
        self.kernel = guest.kernel if guest else Kernel(machine)
        self.found_dirty = sanitize(machine, self.kernel, self.section)
        self.by_secs: dict[int, Encl] = {}
        self.enclaves: dict[int, Encl] = {}
        """All that were created, by their EID; those with an evicted SECS too."""
        self.past = Counts()
        """What happened to enclaves that are gone."""
        self.gate: Gate = StockGate()
        self.reclaimer = Reclaimer(self) if pages else None
        self.pager: Pager | None = None
        """The monitor's, of a guest with more EPC than the host has for it."""
        self.bring_out: Callable[[Encl], None] = _stay
        self.arriving = 0
        """Pages that are being added, by calls that let others come between."""
        self.leaving: Callable[[], Callable[[], None] | None] = _nobody_leaves
        """Gives what waits a moment for files that were closed just now; None: none."""
        self.account: Callable[[], Account] = Account
        """Tells who the thread that calls works for."""
        self._unpublished: list[Changed] = []
        self._changes: list[Changed] = []

    def alloc(self, *, listed: bool = True) -> int:
        """Take an EPC page, evicting others where it must; ENOMEM.

        One that is not *listed* is never looked at to be evicted.
        """
        self.make_room(1)
        return self.section.alloc(listed=listed)

    def make_room(self, count: int) -> None:
        """See that *count* EPC pages are free, as far as others can be evicted.

        Where a limit is met, only pages of the task's cgroup and below it go: of the
        one that it is in now, for it may be moved in the midst of a call.
        """
        if not count:
            return
        cgroup = self.cgroups.look()
        while (full := cgroup.full(count)) is not None:
            full.meet_limit()
            if not (self.reclaimer and self.reclaimer.reclaim_within(cgroup)):
                break
        if self.reclaimer:
            self.reclaimer.has_held = False
            if self.section.free < count:
                self.reclaimer.reclaim(count)
        if self.pager:
            self.pager.make_room(count)

    @property
    def is_held_up(self) -> bool:
        """Threads inside enclaves keep what was looked for last; one may come out."""
        return bool(self.reclaimer and self.reclaimer.has_held)

    def fitting(self, encl: Encl, count: int) -> int:
        """Return how many of *count* pages an enclave can get; others go for them.

        A call that would fail counts for more than an enclave that is let be.
        """
        fits = self._fitting(encl, count)
        if not fits and self.reclaimer and self.reclaimer.let_nobody_be():
            fits = self._fitting(encl, count)
        return fits

    def _fitting(self, encl: Encl, count: int) -> int:
        count = min(count, encl.account.room(Scarce.PAGES))
        if self.pager is None:
            self.make_room(count + encl.va_needed(count))
            return encl.fitting(count, self.section.room)
        count = min(count, self.pager.share)
        with suppress(OSError):
            self.make_room(count + encl.va_needed(count))
        return encl.fitting(count, min(self.section.room, max(0, self.pager.free)))

    @property
    def reachable(self) -> int:
        """EPC pages that the current cgroup can ever have."""
        most = self.pager.pages if self.pager else self.section.pages
        return min(most, self.cgroups.current().most)

    def grow(self, encl: Encl, count: int) -> list[int]:
        """Make room for the versions of *count* more pages; return new VA pages."""
        needed = encl.va_needed(count)
        encl.account.take(Scarce.PAGES, count)
        new: list[int] = []
        try:
            self.make_room(needed)
            for first, size in self.section.alloc_run(needed, listed=False):
                new.extend(range(first, first + size))
        except OSError:
            encl.account.give(Scarce.PAGES, count)
            raise
        for page in new:
            self.kernel.epa(page)
        encl.versions.pages += new
        encl.page_cnt += count
        return new

    def shrink(self, encl: Encl, count: int, va_pages: list[int]) -> None:
        """Undo grow; without *va_pages*, as after REMOVE_PAGES, those stay."""
        encl.page_cnt -= count
        encl.account.give(Scarce.PAGES, count)
        for page in encl.versions.drop_last(va_pages):
            self._free_va(page)

    def _free_va(self, page: int) -> None:
        self._eremove(page)
        self.take_back(page, 1)

    def take_back(self, first: int, count: int) -> None:
        """Free a run of EPC pages that is no enclave's any more."""
        self.machine.epc.unplace(first, count)
        self.section.give(first, count)

    def take_back_all(self, epc_pages: Iterable[int]) -> None:
        """Free EPC pages that are no enclave's any more."""
        for first, count in runs_of(epc_pages):
            self.take_back(first, count)

    def remove_stretch(self, encl: Encl, stretch: Stretch) -> None:
        """EREMOVE like pages: the leaf for the first, its effect for the rest."""
        first, count = stretch.page.epc_page, stretch.count
        if stretch.page.evicted:
            self._forget_evicted(encl, stretch)
            return
        self._eremove(first)
        if count > 1:
            self.machine.epcm.fill(first + 1, count - 1, EpcmEntry())
            self.machine.enclaves[encl.secs].children -= count - 1
        self.take_back(first, count)
        encl.erase_run(stretch.index, count)
        encl.secs_child_cnt -= count

    def _remove_all(self, encl: Encl) -> None:
        """EREMOVE all pages, in as few runs as the EPC has them in, in any order."""
        pages: list[int] = []
        away: list[int] = []
        for stretch in encl.pages_in_use():
            first = stretch.page.epc_page
            run = range(first, first + stretch.count)
            if stretch.page.away:
                away.extend(run)
            elif not stretch.page.evicted:
                pages.extend(run)
        encl.forget_pages()
        for first, count in runs_of(pages):
            eremove_run(self.machine, encl.secs, first, count)
            self.take_back(first, count)
        if self.pager and away:
            self.pager.remove(encl, away)
            self.take_back_all(away)

    def _forget_evicted(self, encl: Encl, stretch: Stretch) -> None:
        slot = stretch.page.epc_page
        encl.versions.give(range(slot, slot + stretch.count))
        encl.erase_run(stretch.index, stretch.count)
        encl.words.fill(stretch.index, stretch.count, (0,), (0,))
        encl.evicted -= stretch.count

    def backing(self, encl: Encl) -> Backing:
        """Return what keeps an enclave's evicted pages; OSError."""
        if encl.backing is None:
            encl.backing = encl.memory.backing()
        return encl.backing

    def kick(self, encl: Encl) -> None:
        """Interrupt the threads inside, so that a tracking cycle can end."""
        self.bring_out(encl)
        self.kernel.kick(encl.secs)

    def release(self, encl: Encl) -> None:
        """End an enclave: everything it has of the EPC comes back."""
        for mm in list(encl.mms):
            mm.forget(encl)
        if not encl.created:
            return
        self.absorb()
        self.past.add(encl.counted())
        del self.enclaves[encl.eid]
        encl.settle()
        for changes in (self._unpublished, self._changes):
            changes[:] = [change for change in changes if change[0] is not encl]
        if self.pager and encl.secs_slot is None:
            self.pager.hold(encl.secs)
        if encl.secs_slot is None:
            # A thread that was killed inside has left, though no leaf said so.
            self.machine.enclaves[encl.secs].inside.clear()
        self._remove_all(encl)
        if encl.secs_slot is None:
            del self.by_secs[encl.secs]
            self._eremove(encl.secs)
            self.section.give(encl.secs)
        for page in encl.versions.pages:
            self._free_va(page)
        encl.versions.pages.clear()
        self.machine.epcm.touched.clear()
        if encl.backing is not None:
            encl.backing.close()
        encl.created = encl.initialized = False
        encl.view = memoryview(b"")

    def absorb(self) -> None:
        """Take note of every EPCM entry that changed since the last time."""
        touched = self.machine.epcm.touched
        for news in touched:
            encl = self.by_secs.get(news.enclavesecs)
            if encl is None:
                continue
            index = encl.index(news.enclaveaddress)
            old = encl.words.get(index)[0] if news.pages == 1 else None
            encl.words.fill(index, news.pages, (news.state,), (0,))
            _note(self._unpublished, encl, index, news.pages)
            if old is None or granted(old) != granted(news.state):
                _note(self._changes, encl, index, news.pages)
        touched.clear()

    def drain(self) -> list[Changed]:
        """Publish the EPCM words that changed; say where native accesses did, too."""
        self.absorb()
        for encl, index, count in self._unpublished:
            encl.memory.publish(index, encl.shown_words(index, count))
        self._unpublished.clear()
        changes, self._changes = self._changes, []
        return [
            (encl, index << PAGE_SHIFT, count << PAGE_SHIFT)
            for encl, index, count in changes
        ]

    def _eremove(self, page: int) -> None:
        code = self.kernel.eremove(page)
        if code:
            raise AssertionError(f"EREMOVE of EPC page {page}: {code}")


def _note(changes: list[Changed], encl: Encl, index: int, count: int) -> None:
    """Add a run of pages, to the last run where they meet."""
    if changes:
        last, start, size = changes[-1]
        if last is encl and start <= index <= start + size:
            changes[-1] = (encl, start, max(size, index + count - start))
            return
    changes.append((encl, index, count))
