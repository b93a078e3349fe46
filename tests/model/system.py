"""What a system may do with enclaves, in any order."""

from collections.abc import Sequence
from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.leaves import Encls, Enclu
from softsgx.arch.secinfo import PageType
from softsgx.machine.memory import epc_address
from tests.model.world import (
    AEP,
    BASES,
    ENCLAVE_PAGES,
    EPC_PAGES,
    SLOTS,
    SSA_PAGE,
    Image,
    World,
)

T = TypeVar("T")

PAGE = st.integers(0, EPC_PAGES - 1)
OFFSETS = range(0, ENCLAVE_PAGES * PAGE_SIZE, PAGE_SIZE)
OFFSET = st.sampled_from(OFFSETS)
SLOT = st.integers(0, SLOTS - 1)
DATA_PAGE = 4
"""The page of an enclave in which its code keeps its operands."""


class System(RuleBasedStateMachine):
    """Ring 0: a system that does with a small EPC what it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.machine = self.world.machine

    @initialize(start=st.sampled_from(["nothing", "built", *["running"] * 4]))
    def begin(self, start: str) -> None:
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
            world.system(world.ring0.einit)
            world.user(world.threads[0], Enclu.EENTER, BASES[0], AEP)

    # what a rule chooses from: what is there, seldom something else

    def of(
        self, data: st.DataObject, likely: Sequence[T], any_of: st.SearchStrategy[T]
    ) -> T:
        """Choose from what makes sense, or else anything."""
        is_likely = bool(likely) and data.draw(st.integers(0, 9)) > 0
        return data.draw(st.sampled_from(likely) if is_likely else any_of)

    def pages(self, *types: PageType, **state: bool) -> list[int]:
        """Return the valid pages of some types in a state."""
        return [
            page
            for page, entry in self.machine.epcm.contents().items()
            if (not types or entry.pt in types)
            and all(getattr(entry, name) == value for name, value in state.items())
        ]

    def free(self, data: st.DataObject) -> int:
        taken = self.machine.epcm.contents()
        return self.of(data, [p for p in range(EPC_PAGES) if p not in taken], PAGE)

    def slot(self, data: st.DataObject) -> tuple[int, int]:
        if not self.world.slots:
            self.world.epa(self.free(data))
        empty = [
            (page, at)
            for page, slots in self.world.slots.items()
            for at, image in enumerate(slots)
            if image is None
        ]
        return self.of(data, empty, st.tuples(PAGE, SLOT))

    # ring 0

    @rule(data=st.data(), any_base=st.sampled_from(BASES))
    def ecreate(self, data: st.DataObject, any_base: int) -> None:
        used = [enclave.secs.baseaddr for enclave in self.machine.enclaves.values()]
        unused = [base for base in BASES if base not in used]
        if unused or self.seldom(data):
            base = self.of(data, unused, st.just(any_base))
            self.world.ecreate(self.free(data), base)

    def seldom(self, data: st.DataObject) -> bool:
        """Say yes once in a while: what fills the EPC would leave no room for lives."""
        return data.draw(st.integers(0, 19)) == 0

    @rule(data=st.data(), offset=OFFSET, permissions=st.integers(0, 7))
    def eadd(self, data: st.DataObject, offset: int, permissions: int) -> None:
        if not self.machine.enclaves:
            return
        secs = self.secs_of(data)
        base = self.machine.enclaves[secs].secs.baseaddr
        missing = [at for at in OFFSETS if base + at not in self.world.ptes]
        offset = self.of(data, missing, st.just(offset))
        is_tcs = offset < 2 * PAGE_SIZE
        is_plain = offset >= DATA_PAGE * PAGE_SIZE
        flags = (PageType.TCS if is_tcs else PageType.REG) << 8
        flags |= 0b011 if is_plain else permissions
        self.world.eadd(self.free(data), offset, flags, secs)

    def secs_of(self, data: st.DataObject) -> int:
        return data.draw(st.sampled_from(sorted(self.machine.enclaves)))

    @rule(data=st.data(), chunk=st.integers(0, 15))
    def eextend(self, data: st.DataObject, chunk: int) -> None:
        page = self.of(data, self.pages(PageType.REG, PageType.TCS), PAGE)
        owner = self.machine.epcm[page].enclavesecs
        self.world.system(
            lambda: self.world.ring0.call(
                Encls.EEXTEND, epc_address(owner), epc_address(page) + 256 * chunk
            )
        )

    @rule(data=st.data())
    def einit(self, data: st.DataObject) -> None:
        if self.machine.enclaves:
            secs = self.secs_of(data)
            self.world.system(lambda: self.world.ring0.einit(secs=secs))

    @rule(data=st.data(), offset=OFFSET)
    def eaug(self, data: st.DataObject, offset: int) -> None:
        if self.machine.enclaves:
            self.world.eaug(self.free(data), offset, self.secs_of(data))

    @rule(data=st.data(), permissions=st.integers(0, 7))
    def emodpr(self, data: st.DataObject, permissions: int) -> None:
        page = self.of(data, self.pages(PageType.REG), PAGE)
        self.world.system(lambda: self.world.ring0.emodpr(page, permissions))

    @rule(data=st.data(), page_type=st.sampled_from([PageType.TCS, PageType.TRIM]))
    def emodt(self, data: st.DataObject, page_type: PageType) -> None:
        page = self.of(data, self.pages(PageType.REG, PageType.TCS), PAGE)
        self.world.system(lambda: self.world.ring0.emodt(page, page_type))

    @rule(data=st.data())
    def eblock(self, data: st.DataObject) -> None:
        self.on_page(Encls.EBLOCK, self.of(data, self.pages(blocked=False), PAGE))

    @rule(data=st.data())
    def etrack(self, data: st.DataObject) -> None:
        self.on_page(Encls.ETRACK, self.of(data, sorted(self.machine.enclaves), PAGE))

    def on_page(self, leaf: Encls, page: int) -> None:
        """Run a leaf of one operand."""
        self.world.system(lambda: self.world.ring0.on_page(leaf, page))

    @rule(data=st.data())
    def block_all(self, data: st.DataObject) -> None:
        """Do what a system does before it evicts an enclave."""
        if not self.machine.enclaves:
            return
        self.block_children(self.secs_of(data))

    def block_children(self, secs: int) -> list[int]:
        """Block all pages of an enclave, and begin to track it; return them."""
        kinds = PageType.REG, PageType.TCS, PageType.TRIM
        entries = self.machine.epcm
        children = [p for p in self.pages(*kinds) if entries[p].enclavesecs == secs]
        for page in children:
            self.on_page(Encls.EBLOCK, page)
        self.on_page(Encls.ETRACK, secs)
        return children

    @rule(data=st.data(), patient=st.booleans())
    def evict_all(self, data: st.DataObject, *, patient: bool) -> None:
        """Evict an enclave as a system does, or without waiting for its threads."""
        if not self.machine.enclaves:
            return
        secs = self.secs_of(data)
        self.evict(data, secs, patient=patient)
        self.world.ewb(secs, *self.slot(data))

    def evict(self, data: st.DataObject, secs: int, *, patient: bool) -> None:
        """Evict what an enclave has, as far as that goes."""
        children = self.block_children(secs)
        if patient:
            self.interrupt_all()
        for page in children:
            self.world.ewb(page, *self.slot(data))

    @rule(data=st.data())
    def eremove(self, data: st.DataObject) -> None:
        ended = [p for p, e in self.machine.enclaves.items() if not e.children]
        trimmed = self.pages(PageType.TRIM, modified=False)
        if ended or trimmed or self.seldom(data):
            self.world.eremove(self.of(data, ended + trimmed, PAGE))

    @rule(data=st.data())
    def epa(self, data: st.DataObject) -> None:
        if len(self.world.slots) < 2 or self.seldom(data):
            self.world.epa(self.free(data))

    @rule(data=st.data(), times=st.integers(1, 4))
    def ewb(self, data: st.DataObject, times: int) -> None:
        for _ in range(times):
            ready = self.pages(blocked=True)
            childless = [
                page for page, e in self.machine.enclaves.items() if not e.children
            ]
            page = self.of(data, 2 * ready + childless + self.pages(), PAGE)
            self.world.ewb(page, *self.slot(data))

    @rule(data=st.data())
    def evict_a_version_array(self, data: st.DataObject) -> None:
        arrays = self.pages(PageType.VA)
        if arrays:
            self.world.ewb(data.draw(st.sampled_from(arrays)), *self.slot(data))

    @rule(
        data=st.data(),
        leaf=st.sampled_from([Encls.ELDU, Encls.ELDU, Encls.ELDB]),
        forged=st.one_of(st.none(), st.none(), st.integers(0, PAGE_SIZE + 120)),
    )
    def eld(self, data: st.DataObject, leaf: Encls, forged: int | None) -> None:
        held = [
            (image, page, at)
            for page, slots in self.world.slots.items()
            for at, image in enumerate(slots)
            if image is not None
        ]
        if not self.world.images:
            return
        any_image = st.tuples(st.sampled_from(self.world.images), PAGE, SLOT)
        image, va_page, slot = self.of(data, held, any_image)
        secs = None
        if image.pt not in (PageType.SECS, PageType.VA) and self.machine.enclaves:
            own = [p for p, e in self.machine.enclaves.items() if e.eid == image.eid]
            secs = self.of(data, own, st.sampled_from(sorted(self.machine.enclaves)))
        page = self.free(data)
        self.world.eld(leaf, image, page, va_page, slot, secs, forged)

    @rule(first=PAGE)
    def load_all(self, first: int) -> None:
        """Do what a system does at faults, for all pages: SECS and arrays first."""
        for _ in range(2):
            for va_page, slots in list(self.world.slots.items()):
                for at, image in enumerate(slots):
                    self.load_back(image, first, va_page, at)

    def load_back(self, image: Image | None, first: int, va_page: int, at: int) -> None:
        """Load an image where it belongs, into the next free page from *first* on."""
        order = (page % EPC_PAGES for page in range(first, first + EPC_PAGES))
        free = [page for page in order if not self.machine.epcm[page].valid]
        if image is None or not free:
            return
        owners = [p for p, e in self.machine.enclaves.items() if e.eid == image.eid]
        secs = owners[0] if owners else None
        self.world.eld(Encls.ELDU, image, free[0], va_page, at, secs)

    @rule(data=st.data(), quadword=st.integers(0, 511))
    def debug(self, data: st.DataObject, quadword: int) -> None:
        page = self.of(data, self.pages(), PAGE)
        ring0, offset = self.world.ring0, quadword * 8
        self.world.system(lambda: ring0.on_page(Encls.EDBGRD, page, offset))
        if self.machine.epcm[page].pt == PageType.REG:
            self.world.system(lambda: ring0.on_page(Encls.EDBGWR, page, offset, 7))

    def interrupt_all(self) -> None:
        """Bring all threads out."""
        for thread in self.world.threads:
            self.world.interrupt(thread)
