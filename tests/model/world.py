"""A machine with page tables, TLBs and a book of every page's life, for laws on both.

The book knows, from the outside, what the model must know from the inside: which page
lives where, which image of it is the last one, and which slot holds whose version.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.errors import LeafFailed, SgxError
from softsgx.arch.faults import Fault, PageFault
from softsgx.arch.leaves import Encls, Enclu, Enclv
from softsgx.arch.rdinfo import Rdinfo
from softsgx.arch.secinfo import PageType, SecinfoFlags
from softsgx.arch.vmx import VmExit
from softsgx.enclu import execute
from softsgx.enclu.operand import check_page
from softsgx.machine.aex import asynchronous_exit
from softsgx.machine.epcm import EpcmEntry
from softsgx.machine.memory import epc_address
from softsgx.machine.model import physical_address
from softsgx.machine.processor import Controls, Processor
from tests.enclu.world import processor_state
from tests.model.counted import DONE, CountedRing0
from tests.support import Evicted, make_machine, make_secs, make_tcs

EPC_PAGES = 28
ENCLAVE_PAGES = 16
SIZE = ENCLAVE_PAGES * PAGE_SIZE
BASES = (0x7000_0000_0000, 0x7100_0000_0000)
AEP = 0x5555_0000_0000
SSA_PAGE = 8
SLOTS = 16
CHILDREN = PageType.REG, PageType.TCS, PageType.TRIM
PROCESSORS = 3


@dataclass(eq=False)
class Life:
    """A page from the leaf that made it to its end; *images* were evicted of it.

    Of a SECS: its context, and how many of its pages a monitor says that it evicted.
    """

    number: int
    images: int = 0
    virtual: int = 0
    context: int = 0


@dataclass(frozen=True)
class Image:
    """What EWB left outside, and what the page was."""

    life: Life
    number: int
    evicted: Evicted
    contents: bytes
    pt: int
    eid: int
    slots: "tuple[Image | None, ...]"


@dataclass
class Tables:
    """The linear memory of an enclave's process: page tables that the system keeps."""

    ptes: dict[int, int]

    def page(self, address: int, *, write: bool = False) -> int:
        page = self.ptes.get(address & -PAGE_SIZE)
        if page is None:
            raise PageFault(address, 6 if write else 4, "not present")
        return page

    def load(self, address: int, size: int) -> bytes:
        raise PageFault(address, 4, f"{size} bytes outside")

    def store(self, address: int, data: bytes) -> None:
        raise PageFault(address, 6, f"{len(data)} bytes outside")


@dataclass
class Thread:
    """A logical processor with its TLB: what it may reach without asking again."""

    lp: Processor
    tlb: dict[tuple[int, bool], tuple[int, Life]] = field(default_factory=dict)


class World:
    """One package and its book: each leaf by a method that writes it up."""

    def __init__(self) -> None:
        self.machine = make_machine({"xfrm": 0x3}, pages=EPC_PAGES)
        self.counts: Counter[tuple[str, str]] = Counter()
        self.ring0 = CountedRing0(self.machine, self.counts)
        self.ptes: dict[int, int] = {}
        tables = Tables(self.ptes)
        self.threads = [Thread(Processor(at, tables)) for at in range(PROCESSORS)]
        self.lives: dict[int, Life] = {}
        self.slots: dict[int, list[Image | None]] = {}
        self.images: list[Image] = []
        self._numbers = count()

    def born(self, page: int) -> None:
        """Note that a leaf made a page."""
        self.lives[page] = Life(next(self._numbers))

    def entries(self) -> dict[int, EpcmEntry]:
        """Return the EPCM's entries of the pages that are in use."""
        epcm = self.machine.epcm
        return {page: epcm[page] for page in range(EPC_PAGES) if epcm.row(page)[0]}

    # ring 0

    def system(self, deed: Callable[[], object]) -> bool:
        """Run a leaf of ring 0; say whether it did something; or all is as it was."""
        before = self.machine.snapshot()
        try:
            deed()
        except (Fault, LeafFailed, VmExit):
            did = False
        else:
            did = True
        assert did or self.machine.snapshot() == before
        return did

    def call(self, leaf: Encls, rbx: int, rcx: int) -> None:
        """Run a leaf of whose deeds the book has nothing."""
        self.system(lambda: self.ring0.call(leaf, rbx, rcx))

    def on_page(self, leaf: Encls, page: int, offset: int = 0, rbx: int = 0) -> None:
        """Run such a leaf on a page."""
        self.call(leaf, rbx, epc_address(page) + offset)

    def einit(self, secs: int) -> None:
        self.system(lambda: self.ring0.einit(secs=secs))

    def emodpr(self, page: int, permissions: int) -> None:
        self.system(lambda: self.ring0.emodpr(page, permissions))

    def emodt(self, page: int, page_type: PageType) -> None:
        self.system(lambda: self.ring0.emodt(page, page_type))

    def ecreate(self, page: int, base: int) -> None:
        secs = make_secs(baseaddr=base, size=SIZE)
        if self.system(lambda: self.ring0.ecreate(page, secs)):
            self.born(page)
            self.lives[page].context = physical_address(page)

    def eadd(self, page: int, offset: int, flags: int, secs: int) -> None:
        contents = bytes([offset // PAGE_SIZE + 1]) * PAGE_SIZE
        if flags >> 8 == PageType.TCS:
            frames = (SSA_PAGE + offset // PAGE_SIZE % 2 * 2) * PAGE_SIZE
            contents = make_tcs(ossa=frames, nssa=2)
        if self.system(
            lambda: self.ring0.eadd(page, offset, SecinfoFlags(flags), contents, secs)
        ):
            self.added(page)

    def eaug(self, page: int, offset: int, secs: int) -> None:
        if self.system(lambda: self.ring0.eaug(page, offset, secs)):
            self.added(page)

    def added(self, page: int) -> None:
        """Note a page that is an enclave's now, and map it where it belongs."""
        self.born(page)
        self.ptes[self.machine.epcm[page].enclaveaddress] = page

    def epa(self, page: int) -> None:
        if self.system(lambda: self.ring0.epa(page)):
            self.born(page)
            self.slots[page] = [None] * SLOTS

    def eremove(self, page: int) -> None:
        if self.system(lambda: self.ring0.on_page(Encls.EREMOVE, page)):
            self.left(self.lives.pop(page, None))
            self.slots.pop(page, None)

    def left(self, life: Life | None) -> None:
        """Look at a page that left the EPC: a guest's SECS goes after all its pages."""
        is_guest = self.ring0.lp.has_epc_virtualization
        assert not (life and life.virtual and is_guest)

    def ewb(self, page: int, va_page: int, slot: int) -> None:
        entry = self.machine.epcm[page]
        contents = bytes(self.machine.epc.page(page))
        result: list[Evicted] = []
        if not self.system(lambda: result.append(self.ring0.ewb(page, va_page, slot))):
            return
        assert entry.blocked or entry.pt in (PageType.SECS, PageType.VA)
        life = self.lives.pop(page)
        self.left(life)
        life.images += 1
        owner = self.machine.enclaves.get(entry.enclavesecs)
        is_child = entry.pt not in (PageType.SECS, PageType.VA)
        image = Image(
            life,
            life.images,
            result[0],
            contents,
            entry.pt,
            owner.eid if is_child and owner else 0,
            tuple(self.slots.pop(page, ())),
        )
        self.images.append(image)
        del self.images[:-40]
        self.slots[va_page][slot] = image

    def eld(  # noqa: PLR0917 -- a leaf, its operands, and what is forged
        self,
        leaf: Encls,
        image: Image,
        page: int,
        va_page: int,
        slot: int,
        secs: int | None,
        forged: int | None = None,
    ) -> None:
        evicted = image.evicted
        if forged is not None:
            evicted = _forge(evicted, forged)
        ours = self.slots.get(va_page, [None] * SLOTS)[slot] is image
        if not self.system(
            lambda: self.ring0.eld(leaf, evicted, page, va_page, slot, secs)
        ):
            assert not (ours and forged is None and self._fits(image, page, secs))
            return
        assert ours, "a version that its slot does not hold"
        assert forged is None
        assert image.number == image.life.images, "older than the last eviction"
        assert image.life not in self.lives.values(), "a second copy"
        if image.pt != PageType.SECS:
            assert bytes(self.machine.epc.page(page)) == image.contents
        self.slots[va_page][slot] = None
        self.lives[page] = image.life
        if image.pt == PageType.SECS:
            image.life.context = physical_address(page)
        elif image.pt == PageType.VA:
            self.slots[page] = list(image.slots)
        else:
            assert self.machine.enclaves[secs or 0].eid == image.eid
            self.ptes[evicted.linaddr] = page

    def _fits(self, image: Image, page: int, secs: int | None) -> bool:
        """Say whether nothing but the image itself could be in a load's way."""
        if self.machine.epcm[page].valid:
            return False
        if image.pt in (PageType.SECS, PageType.VA):
            return secs is None
        enclave = self.machine.enclaves.get(-1 if secs is None else secs)
        return enclave is not None and enclave.eid == image.eid

    def erdinfo(self, page: int) -> None:
        told: list[Rdinfo] = []
        if not self.system(lambda: told.append(self.ring0.rdinfo(page))):
            assert page not in self.lives
            return
        entry, life = self.machine.epcm[page], self.lives[page]
        assert told[0].flags == entry.state & 0xFF3F | entry.blocked << 63
        owner = self.lives.get(entry.enclavesecs) if entry.pt in CHILDREN else life
        is_guest = self.ring0.lp.has_epc_virtualization
        hidden = entry.pt == PageType.SECS and is_guest
        assert told[0].enclavecontext == (owner.context if owner and not hidden else 0)
        has_virtual = entry.pt == PageType.SECS and life.virtual > 0
        assert bool(told[0].status) == (has_virtual or self.has_children(page))

    def has_children(self, page: int) -> bool:
        """Say whether the EPC has a page of a SECS."""
        return any(
            entry.pt in CHILDREN and entry.enclavesecs == page
            for entry in self.entries().values()
        )

    # a monitor

    def count_virtual(self, leaf: Enclv, page: int, secs: int) -> None:
        """Count a page of a SECS as evicted by a monitor, or as back."""
        operands = epc_address(page), epc_address(secs)
        if self.system(lambda: self.ring0.monitor(leaf, *operands)):
            self.lives[secs].virtual += 1 if leaf == Enclv.EINCVIRTCHILD else -1

    def set_context(self, secs: int, context: int) -> None:
        if self.system(lambda: self.ring0.setcontext(secs, context)):
            self.lives[secs].context = context

    def change_sides(self, *, guest: bool) -> None:
        """Let ring 0 be a guest's of a monitor that evicts unseen, or the monitor's."""
        guests = Controls(epc_virtualization_extensions=True)
        self.ring0.lp.controls = guests if guest else None

    # ring 3

    def user(self, thread: Thread, leaf: Enclu, *operands: int) -> bool:
        """Run a leaf of ring 3; say whether it did something; or all is as it was."""
        lp = thread.lp
        lp.regs.rax = int(leaf)
        lp.regs.rbx, lp.regs.rcx, lp.regs.rdx = (*operands, 0, 0, 0)[:3]
        before, state = self.machine.snapshot(), processor_state(lp)
        faulted = False
        try:
            execute(self.machine, lp, int(leaf))
        except Fault:
            faulted = True
        did = not faulted and (leaf not in _CODED or lp.regs.rax == 0)
        outcome = "fault" if faulted else DONE if did else SgxError(lp.regs.rax).name
        self.counts[leaf.name, outcome] += 1
        assert did or self.machine.snapshot() == before
        assert not faulted or processor_state(lp) == state
        if did and leaf in _ENTRIES:
            thread.tlb.clear()
        return did

    def leave(self, thread: Thread) -> None:
        """Leave by EEXIT, or by an interrupt."""
        if thread.lp.enclave_mode:
            self.user(thread, Enclu.EEXIT, 0x1000)
            thread.tlb.clear()

    def interrupt(self, thread: Thread) -> None:
        """Take an asynchronous exit, if inside."""
        if thread.lp.enclave_mode:
            asynchronous_exit(self.machine, thread.lp, 32)
            thread.tlb.clear()
            assert not thread.lp.enclave_mode

    def access(self, thread: Thread, address: int, data: bytes = b"") -> bool:
        """Read, or write *data*, as code inside does: by the TLB if it is in there."""
        if not thread.lp.enclave_mode:
            return False
        key = address & -PAGE_SIZE, bool(data)
        known = thread.tlb.get(key)
        if known is None:
            try:
                check_page(self.machine, thread.lp, address, write=bool(data))
            except Fault:
                return False
            page = thread.lp.memory.page(address)
            known = thread.tlb[key] = page, self.lives[page]
        start = address % PAGE_SIZE
        if data:
            self.machine.epc.page(known[0])[start : start + len(data)] = data
        return True


_ENTRIES = (Enclu.EENTER, Enclu.ERESUME)
_CODED = (Enclu.EACCEPT, Enclu.EACCEPTCOPY, Enclu.EGETKEY)


def _forge(evicted: Evicted, where: int) -> Evicted:
    """Change a bit: of the page, of PCMD but its ENCLAVEID, or of the address."""
    if where < PAGE_SIZE:
        page = bytearray(evicted.page)
        page[where] ^= 0x10
        return replace(evicted, page=bytes(page))
    where = (where - PAGE_SIZE) % 121
    if where == 120:
        return replace(evicted, linaddr=evicted.linaddr ^ PAGE_SIZE)
    pcmd = bytearray(evicted.pcmd)
    pcmd[where if where < 64 else where + 8] ^= 0x10
    return replace(evicted, pcmd=bytes(pcmd))
