"""A guest with more EPC than the host has for it."""

from dataclasses import replace

from softsgx.arch.secinfo import PageType
from softsgx.driver.core import GuestParts
from softsgx.driver.driver import Driver
from softsgx.driver.paging.guest_kernel import GuestKernel
from softsgx.driver.paging.pager import Pager
from softsgx.machine.epc import Epc
from softsgx.machine.model import Model
from tests.driver.fakes import FakeBacking
from tests.driver.paged import FakeTables, Paged

GUEST, FRAMES = 200, 64
OWN = 1


class Oversubscribed(Paged):
    """The world of a small EPC, in a guest that believes its EPC is a large one."""

    def __init__(self, pages: int = GUEST, frames: int = FRAMES) -> None:
        model = replace(Model(), enclv=True, oversub=True)
        super().__init__(pages, model)
        self.machine.epc = Epc(pages + OWN)
        kernel = GuestKernel(self.machine)
        guest = GuestParts(self.machine, kernel, [(0, pages)])
        self.driver = Driver(self.machine, pages=True, guest=guest)
        self.images = FakeBacking()
        own = range(pages, pages + OWN)
        self.pager = Pager(self.driver, frames, own, self.images)
        kernel.pager = self.driver.pager = self.pager
        self.encl = self.driver.open(self.memory)
        self.mm.tables = self.tables = FakeTables(self.memory)

    def away(self) -> set[int]:
        """Return which of the enclave's pages the monitor has out."""
        outs = self.pager.out.values()
        return {away.index for away in outs if away.encl is self.encl}

    def inside(self) -> int:
        """Count the EPC pages that are in use, with the monitor's."""
        return len(self.machine.epcm.contents())

    def check(self) -> None:
        """What must hold at any time."""
        entries = self.machine.epcm.contents()
        assert len(entries) <= self.pager.pages + OWN
        assert not entries.keys() & self.pager.out.keys()
        for index in range(self.encl.size // 4096):
            page = self.encl.numbered(index)
            if page is None or (page.evicted and not page.away):
                continue
            assert page.away == (page.epc_page in self.pager.out)
            assert bool(self.memory.words.get(index)) != page.away
            assert page.away or entries[page.epc_page].pt == page.type
        if self.encl.created and self.encl.secs in self.machine.enclaves:
            state = self.machine.enclaves[self.encl.secs]
            assert state.virtchildcnt == len(self.away())
            kinds = {PageType.REG, PageType.TCS, PageType.TRIM}
            children = [one for one in entries.values() if one.pt in kinds]
            assert state.children == len(children)
