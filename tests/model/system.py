"""What a system and a monitor may do with enclaves, in any order."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.leaves import Encls, Enclu, Enclv
from softsgx.arch.secinfo import PageType
from softsgx.machine.memory import epc_address
from tests.model.choices import Choices
from tests.model.world import (
    AEP,
    BASES,
    CHILDREN,
    ENCLAVE_PAGES,
    EPC_PAGES,
    SLOTS,
    SSA_PAGE,
    Image,
    World,
)

T = TypeVar("T")

OFFSETS = range(0, ENCLAVE_PAGES * PAGE_SIZE, PAGE_SIZE)
DATA_PAGE = 4
"""The page of an enclave in which its code keeps its operands."""

STARTS = ("nothing", "built", *["running"] * 4)

_LOADS = Encls.ELDU, Encls.ELDUC, Encls.ELDB, Encls.ELDBC


class System:
    """Ring 0: a system that does with a small EPC what it likes; *choose* says what."""

    def __init__(self, choose: Choices) -> None:
        self.choose = choose
        self.world = World()
        self.machine = self.world.machine

    def begin(self, start: str) -> None:
        """Make an enclave, or also let a thread into it."""
        world = self.world
        if start == "nothing":
            return
        world.ecreate(0, BASES[0])
        world.epa(20)
        tcs, reg = PageType.TCS << 8, PageType.REG << 8 | 0b011
        for at in range(2):
            world.eadd(1 + at, at * PAGE_SIZE, tcs, 0)
        for at in range(4):
            world.eadd(3 + at, (SSA_PAGE + at) * PAGE_SIZE, reg, 0)
            world.eadd(7 + at, (DATA_PAGE + at) * PAGE_SIZE, reg, 0)
        world.ecreate(12, BASES[1])
        world.eadd(13, DATA_PAGE * PAGE_SIZE, reg, 12)
        if start == "running":
            world.einit(0)
            world.user(world.threads[0], Enclu.EENTER, BASES[0], AEP)

    # what a rule chooses from: what is there, seldom something else

    def likely(self, items: Sequence[T], anything: Callable[[], T]) -> T:
        """Choose from what makes sense, or else anything."""
        if items and self.choose.integer(0, 9):
            return self.choose.of(items)
        return anything()

    def page(self) -> int:
        """Choose any EPC page."""
        return self.choose.integer(0, EPC_PAGES - 1)

    def likely_page(self, pages: Sequence[int]) -> int:
        """Choose one of some EPC pages, or seldom another."""
        return self.likely(pages, self.page)

    def seldom(self) -> bool:
        """Say yes once in a while: what fills the EPC would leave no room for lives."""
        return self.choose.integer(0, 19) == 0

    def pages(self, *types: PageType, **state: bool) -> list[int]:
        """Return the valid pages of some types in a state."""
        return [
            page
            for page, entry in self.world.entries().items()
            if (not types or entry.pt in types)
            and all(getattr(entry, name) == value for name, value in state.items())
        ]

    def free(self) -> int:
        """Choose a free page, or seldom another."""
        taken = self.world.entries()
        return self.likely_page([p for p in range(EPC_PAGES) if p not in taken])

    def slot(self) -> tuple[int, int]:
        """Choose an empty slot of a version array, or seldom anything."""
        if not self.world.slots:
            self.world.epa(self.free())
        empty = [
            (page, at)
            for page, slots in self.world.slots.items()
            for at, image in enumerate(slots)
            if image is None
        ]
        return self.likely(empty, self.any_slot)

    def any_slot(self) -> tuple[int, int]:
        """Choose any EPC page, and a slot's number."""
        return self.page(), self.choose.integer(0, SLOTS - 1)

    def secs(self) -> int | None:
        """Choose an enclave, if there is one."""
        enclaves = sorted(self.machine.enclaves)
        return self.choose.of(enclaves) if enclaves else None

    # ring 0

    def ecreate(self) -> None:
        used = [enclave.secs.baseaddr for enclave in self.machine.enclaves.values()]
        unused = [base for base in BASES if base not in used]
        if unused or self.seldom():
            base = self.likely(unused, lambda: self.choose.of(BASES))
            self.world.ecreate(self.free(), base)

    def eadd(self) -> None:
        secs = self.secs()
        if secs is None:
            return
        base = self.machine.enclaves[secs].secs.baseaddr
        missing = [at for at in OFFSETS if base + at not in self.world.ptes]
        offset = self.likely(missing, lambda: self.choose.of(OFFSETS))
        is_tcs = offset < 2 * PAGE_SIZE
        is_plain = offset >= DATA_PAGE * PAGE_SIZE
        flags = (PageType.TCS if is_tcs else PageType.REG) << 8
        flags |= 0b011 if is_plain else self.choose.integer(0, 7)
        self.world.eadd(self.free(), offset, flags, secs)

    def eextend(self) -> None:
        page = self.likely_page(self.pages(PageType.REG, PageType.TCS))
        owner = self.machine.epcm[page].enclavesecs
        chunk = epc_address(page) + 256 * self.choose.integer(0, 15)
        self.world.call(Encls.EEXTEND, epc_address(owner), chunk)

    def einit(self) -> None:
        if (secs := self.secs()) is not None:
            self.world.einit(secs)

    def eaug(self) -> None:
        if (secs := self.secs()) is not None:
            self.world.eaug(self.free(), self.choose.of(OFFSETS), secs)

    def emodpr(self) -> None:
        page = self.likely_page(self.pages(PageType.REG))
        self.world.emodpr(page, self.choose.integer(0, 7))

    def emodt(self) -> None:
        page = self.likely_page(self.pages(PageType.REG, PageType.TCS))
        self.world.emodt(page, self.choose.of((PageType.TCS, PageType.TRIM)))

    def eblock(self) -> None:
        self.world.on_page(Encls.EBLOCK, self.likely_page(self.pages(blocked=False)))

    def etrack(self) -> None:
        page = self.likely_page(sorted(self.machine.enclaves))
        self.world.on_page(Encls.ETRACK, page)

    def etrackc(self) -> None:
        self.world.on_page(Encls.ETRACKC, self.likely_page(self.pages()))

    def block_all(self) -> None:
        """Do what a system does before it evicts an enclave."""
        if (secs := self.secs()) is not None:
            self.block_children(secs)

    def block_children(self, secs: int) -> list[int]:
        """Block all pages of an enclave, and begin to track it; return them."""
        children = [
            page
            for page, entry in self.world.entries().items()
            if entry.pt in CHILDREN and entry.enclavesecs == secs
        ]
        for page in children:
            self.world.on_page(Encls.EBLOCK, page)
        self.world.on_page(Encls.ETRACK, secs)
        return children

    def evict_all(self) -> None:
        """Evict an enclave as a system does, or without waiting for its threads."""
        if (secs := self.secs()) is not None:
            self.evict(secs, patient=bool(self.choose.integer(0, 1)))
            self.world.ewb(secs, *self.slot())

    def evict(self, secs: int, *, patient: bool) -> None:
        """Evict what an enclave has, as far as that goes."""
        children = self.block_children(secs)
        if patient:
            self.interrupt()
        for page in children:
            self.world.ewb(page, *self.slot())

    def eremove(self) -> None:
        ended = [p for p, e in self.machine.enclaves.items() if not e.children]
        trimmed = self.pages(PageType.TRIM, modified=False)
        if ended or trimmed or self.seldom():
            self.world.eremove(self.likely_page(ended + trimmed))

    def epa(self) -> None:
        if len(self.world.slots) < 2 or self.seldom():
            self.world.epa(self.free())

    def ewb(self) -> None:
        for _ in range(self.choose.integer(1, 4)):
            ready = self.pages(blocked=True)
            childless = [p for p, e in self.machine.enclaves.items() if not e.children]
            page = self.likely_page(2 * ready + childless + self.pages())
            self.world.ewb(page, *self.slot())

    def evict_a_version_array(self) -> None:
        if arrays := self.pages(PageType.VA):
            self.world.ewb(self.choose.of(arrays), *self.slot())

    def eld(self) -> None:
        """Load an image that a slot is of, or any other; a third of them are forged."""
        held = [
            (image, page, at)
            for page, slots in self.world.slots.items()
            for at, image in enumerate(slots)
            if image is not None
        ]
        if not self.world.images:
            return
        image, va_page, slot = self.likely(
            held, lambda: (self.choose.of(self.world.images), *self.any_slot())
        )
        secs = None
        if image.pt in CHILDREN and self.machine.enclaves:
            own = [p for p, e in self.machine.enclaves.items() if e.eid == image.eid]
            secs = self.likely(own, lambda: self.choose.of([*self.machine.enclaves]))
        forged = None
        if self.choose.integer(0, 2) == 0:
            forged = self.choose.integer(0, PAGE_SIZE + 120)
        leaf = self.choose.of(_LOADS)
        self.world.eld(leaf, image, self.free(), va_page, slot, secs, forged)

    def load_all(self) -> None:
        """Do what a system does at faults, for all pages: SECS and arrays first."""
        first = self.page()
        for _ in range(2):
            for va_page, slots in list(self.world.slots.items()):
                for at, image in enumerate(slots):
                    self.load_back(image, first, va_page, at)

    def heal(self) -> None:
        """Bring what is blocked out, and everything back."""
        self.interrupt()
        for secs in list(self.machine.enclaves):
            self.world.on_page(Encls.ETRACK, secs)
        for page in self.pages(*CHILDREN, blocked=True):
            self.world.ewb(page, *self.slot())
        self.load_all()

    def load_back(self, image: Image | None, first: int, va_page: int, at: int) -> None:
        """Load an image where it belongs, into the next free page from *first* on."""
        if image is None:
            return
        order = (page % EPC_PAGES for page in range(first, first + EPC_PAGES))
        free = [page for page in order if not self.machine.epcm[page].valid]
        if not free:
            return
        owners = [p for p, e in self.machine.enclaves.items() if e.eid == image.eid]
        secs = owners[0] if owners else None
        self.world.eld(Encls.ELDU, image, free[0], va_page, at, secs)

    def debug(self) -> None:
        page = self.likely_page(self.pages())
        offset = 8 * self.choose.integer(0, 511)
        self.world.on_page(Encls.EDBGRD, page, offset)
        if self.machine.epcm[page].pt == PageType.REG:
            self.world.on_page(Encls.EDBGWR, page, offset, 7)

    def erdinfo(self) -> None:
        self.world.erdinfo(self.likely_page(self.pages()))

    def interrupt(self) -> None:
        """Do what a system does after ETRACK: bring all threads out."""
        for thread in self.world.threads:
            self.world.interrupt(thread)

    # a monitor

    def count_virtual(self) -> None:
        """Count a page as evicted, or as back, with its SECS or seldom another."""
        page = self.likely_page(self.pages(*CHILDREN, PageType.SECS))
        entry = self.machine.epcm[page]
        owner = page if entry.pt == PageType.SECS else entry.enclavesecs
        leaf = self.choose.of((Enclv.EINCVIRTCHILD, Enclv.EDECVIRTCHILD))
        self.world.count_virtual(leaf, page, self.likely_page([owner]))

    def set_context(self) -> None:
        secs = self.likely_page(sorted(self.machine.enclaves))
        self.world.set_context(secs, self.choose.integer(0, 1 << 40))

    def change_sides(self) -> None:
        """Let ring 0 be a guest, whose monitor's pages count, or the monitor."""
        self.world.change_sides(guest=self.choose.integer(0, 3) == 0)

    def evict_unseen(self) -> None:
        """Take a page from a guest as a monitor does, which counts it for the guest."""
        page = self.likely_page(self.pages(*CHILDREN))
        entry = self.machine.epcm[page]
        self.world.change_sides(guest=False)
        self.world.count_virtual(Enclv.EINCVIRTCHILD, page, entry.enclavesecs)
        self.world.on_page(Encls.EBLOCK, page)
        self.world.on_page(Encls.ETRACKC, page)
        self.interrupt()
        self.world.ewb(page, *self.slot())
