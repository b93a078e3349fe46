"""A monitor's pager: a guest has more EPC than the host has for it, and need not know.

Where the guest touches a page that is out, the monitor brings it back: hardware would
tell it by an EPT violation.  Pages keep the guest's numbers, and a frame is a count.
SDM: "ENCLV—Execute an Enclave VMM Function of Specified Leaf Number"
"""

import errno
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from softsgx.arch.addr import PAGE_SHIFT, PAGE_SIZE
from softsgx.arch.errors import SgxError
from softsgx.arch.pageinfo import Pcmd
from softsgx.arch.rdinfo import RDINFO_BLOCKED
from softsgx.arch.secinfo import PageType
from softsgx.driver.encl import Encl
from softsgx.driver.epc.runs import runs_of
from softsgx.driver.errnos import refuse
from softsgx.driver.paging.monitor import Monitor
from softsgx.driver.paging.pages import Part, Run
from softsgx.driver.paging.reclaim import Reclaimer
from softsgx.driver.paging.versions import VA_SLOT_COUNT, Versions
from softsgx.driver.protocols import Backing
from softsgx.encls.run import eremove_run
from softsgx.encls.swap import Image, In, Out
from softsgx.machine.model import physical_address

if TYPE_CHECKING:
    from softsgx.driver.core import Core

_OWN = 8
"""Frames that the monitor keeps, for leaves that must get through."""
_SHARES = 4
"""One of so many parts of the frames can be given out at once."""
_ALONE = frozenset({PageType.SECS, PageType.VA})


@dataclass(frozen=True)
class Away:
    """A page that is out: its version's slot, its enclave and its place there, if any.

    *blocked*: the guest had blocked it, and finds it so.
    """

    slot: int
    encl: Encl | None = None
    index: int = 0
    blocked: bool = False


class Pager:
    """Of one guest, whose driver is *core*.

    *own* are EPC pages, of the frames, for its version arrays: enough for all pages.
    """

    def __init__(self, core: "Core", frames: int, own: Sequence[int], backing: Backing):
        self._core, self._backing = core, backing
        self.pages = frames - _OWN
        self._machine = core.machine.with_package(core.machine.package)
        self._ring0 = Monitor(self._machine)
        self._versions, self._own = Versions(), own
        self._end = self._machine.epc.limit
        self._reclaimer = Reclaimer(core, self, self._send)
        self._held: set[int] = set()
        self.out: dict[int, Away] = {}
        """Pages that are not in the EPC, by the guest's numbers."""

    @property
    def free(self) -> int:
        """Frames that nothing of the guest's is in."""
        section = self._core.section
        inside = section.pages - section.free - len(self.out)
        return self.pages - len(self._versions.pages) - inside

    @property
    def share(self) -> int:
        """Pages that one call of the guest's driver takes at once, at most."""
        return max(1, self.pages // _SHARES)

    def make_room(self, count: int) -> None:
        """See that *count* frames are free; ENOMEM: what is in cannot leave."""
        if self.free < count:
            self._reclaimer.reclaim(count)
        if self.free < count:
            self._squeeze(count)
        if self.free < count:
            raise refuse(errno.ENOMEM, "the host has no EPC left for the guest")

    def reach(self, page: int) -> None:
        """Bring a page of the guest's back, if it is out; OSError."""
        away = self.out.get(page)
        if away is None:
            return
        held = {page}
        if away.encl is not None:
            self.reach(away.encl.secs)
            held.add(away.encl.secs)
        held -= self._held
        self._held |= held
        try:
            self.make_room(1)
            self._bring(page, away)
        finally:
            self._held -= held

    def reach_run(self, encl: Encl, run: Run) -> None:
        """Bring those of an enclave's pages back that are out, as far as it goes."""
        with suppress(OSError):
            for index in range(run[0], sum(run)):
                page = encl.numbered(index)
                if page is not None and page.away:
                    self.reach(page.epc_page)

    def hold(self, page: int) -> None:
        """Bring a page back, and keep it in until `let_go`.

        A leaf has to get through: where no frame is left it has one of the monitor's.
        """
        if page not in self.out:
            self._held.add(page)
            return
        away = self.out[page]
        if away.encl is not None:
            self.hold(away.encl.secs)
        self._held.add(page)
        with suppress(OSError):
            self.make_room(1)
        self._bring(page, away)

    def remove(self, encl: Encl, pages: list[int]) -> None:
        """Have EREMOVE go through for pages that are out, at their enclave's end.

        They come back for it, as many together as the monitor has frames of its own.
        """
        self.hold(encl.secs)
        for at in range(0, len(pages), _OWN):
            self._remove(encl.secs, pages[at : at + _OWN])
        self._machine.epcm.touched.clear()
        self.let_go()

    def _remove(self, secs: int, pages: list[int]) -> None:
        loads = [self._load(page, self.out[page]) for page in pages]
        if len(self._ring0.eldu_run(loads)) < len(pages):
            raise refuse(errno.EIO, "a page came back as another one")
        for page in pages:
            self._ring0.edecvirtchild(page, secs)
            self._versions.give([self.out.pop(page).slot])
        for first, count in runs_of(pages):
            eremove_run(self._machine, secs, first, count)

    def let_go(self) -> None:
        """Let all pages leave again."""
        self._held.clear()

    def kick(self, guest_physical: int) -> None:
        """Have threads leave an enclave, and enter again: a tracking cycle ends."""
        page = (guest_physical - physical_address(0)) >> PAGE_SHIFT
        self._core.kick(self._core.by_secs[page])

    # ---- out ----

    def _send(self, core: "Core", encl: Encl, parts: list[Part]) -> list[Run]:
        """Evict pages that no thread can write any more; return which went."""
        del core
        parts = list(self._not_held(parts))
        pages = [page for _, part in parts for page in part]
        if not pages:
            return []
        infos = [self._ring0.erdinfo(page) for page in pages]
        blocked = [bool(info.flags & RDINFO_BLOCKED) for info in infos]
        for page in pages:
            self._ring0.eincvirtchild(page, encl.secs)
        self._ring0.eblock_run(
            [page for page, is_done in zip(pages, blocked, strict=True) if not is_done]
        )
        slots = self._slots(len(pages))
        outs = [
            Out(page, *self._versions.place(slot))
            for page, slot in zip(pages, slots, strict=True)
        ]
        images = self._ewb(encl, outs)
        if len(images) < len(outs):
            raise AssertionError(f"EWB of EPC page {outs[len(images)].page}")
        at = 0
        for first, part in parts:
            for number, page in enumerate(part):
                self._keep(page, images[at])
                self.out[page] = Away(slots[at], encl, first + number, blocked[at])
                self._machine.epc.unplace(page, 1)
                at += 1
            encl.sent(first, part)
        self._machine.epcm.touched.clear()
        return [(first, len(part)) for first, part in parts]

    def _not_held(self, parts: list[Part]) -> Iterator[Part]:
        for first, pages in parts:
            if self._held.isdisjoint(pages):
                yield first, pages
                continue
            for index, page in enumerate(pages, first):
                if page not in self._held:
                    yield index, array("I", [page])

    def _ewb(self, encl: Encl, outs: list[Out]) -> list[Image]:
        """EWB; where old translations may be left, after ETRACKC, and an interrupt."""
        images = self._ring0.ewb_run(outs)
        if len(images) < len(outs):
            page = outs[len(images)].page
            if self._ring0.etrackc(page) == SgxError.PREV_TRK_INCMPL:
                self._core.kick(encl)
                self._ring0.etrackc(page)
            images += self._ring0.ewb_run(outs[len(images) :])
        if len(images) < len(outs):
            self._core.kick(encl)
            images += self._ring0.ewb_run(outs[len(images) :])
        return images

    def _squeeze(self, count: int) -> None:
        """Evict version arrays, and each SECS of which no page is in."""
        epcm = self._machine.epcm
        for run in self._core.section.places:
            for page in epcm.used(*run):
                if self.free >= count:
                    return
                if epcm[page].pt in _ALONE and page not in self._held:
                    self._send_alone(page)

    def _send_alone(self, page: int) -> None:
        encl = self._core.by_secs.get(page)
        if encl is not None and encl.is_loading:
            return
        (slot,) = self._slots(1)
        images = self._ring0.ewb_run([Out(page, *self._versions.place(slot))])
        if not images:
            self._versions.give([slot])
            return
        self._keep(page, images[0])
        self._machine.epc.unplace(page, 1)
        self.out[page] = Away(slot)

    def _slots(self, count: int) -> list[int]:
        """Return slots, of a new version array if there are none left."""
        arrays = self._versions.pages
        while len(self.out) + count > len(arrays) * VA_SLOT_COUNT:
            page = self._own[len(arrays)]
            self._ring0.epa(page)
            arrays.append(page)
        return self._versions.take(count)

    # ---- back ----

    def _bring(self, page: int, away: Away) -> None:
        """Load a page; who waits for it goes on when it is all there."""
        encl = away.encl
        self._ring0.eldc(self._load(page, away), blocked=away.blocked)
        self._versions.give([away.slot])
        del self.out[page]
        if encl is not None:
            self._ring0.edecvirtchild(page, encl.secs)
            self._show(encl, away.index, page)
            self._reclaimer.came(encl, 1)
        elif page in self._machine.enclaves:
            self._ring0.esetcontext(page, physical_address(page))
        self._machine.epcm.touched.clear()

    def _load(self, page: int, away: Away) -> In:
        """Return the operands of a load."""
        encl = away.encl
        linaddr = encl.base + (away.index << PAGE_SHIFT) if encl else 0
        secs = encl.secs if encl else None
        ((image, pcmd),) = self._backing.read(self._place(page), 1)
        place = self._versions.place(away.slot)
        return In(page, *place, image, pcmd, linaddr, secs)

    def _show(self, encl: Encl, index: int, page: int) -> None:
        """Put a page's contents where the guest's programs have it mapped."""
        epc, offset = self._machine.epc, index << PAGE_SHIFT
        encl.memory.put(offset, [bytes(epc.page(page))])
        epc.place(page, 1, encl.view, offset)
        encl.returned(index, page)
        encl.memory.publish(index, encl.shown_words(index, 1))

    def _keep(self, page: int, image: Image) -> None:
        self._backing.write(self._place(page), [image])

    def _place(self, page: int) -> Run:
        """Return where a page's image and its PCMD are kept."""
        end = self._end * PAGE_SIZE
        return page * PAGE_SIZE, end + page * Pcmd.SIZE
