"""A machine with one initialized enclave, for tests of ring 3's leaves.

The enclave's pages lie where FlatMemory shows the EPC, so that an address and its EPC
page go together:  TCS 0x0000, second TCS 0x1000, SSA 0x2000 (room for two frames of
up to four pages), code 0xa000, data 0xb000, two more data pages, a read-only page.
"""

from dataclasses import replace

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.faults import PFEC_P, PFEC_SGX, PFEC_U, PFEC_W, PageFault
from softsgx.arch.layout import Layout
from softsgx.arch.leaves import Enclu
from softsgx.arch.secinfo import PageType, Secinfo, SecinfoFlags
from softsgx.arch.secs import AttributeFlags, Attributes, Secs
from softsgx.arch.ssa import Gprsgx
from softsgx.arch.tcs import Tcs
from softsgx.enclu import execute
from softsgx.machine.enclave import EnclaveState
from softsgx.machine.epcm import EpcmEntry
from softsgx.machine.machine import Machine
from softsgx.machine.measurement import Measurement
from softsgx.machine.memory import EPC_BASE, FlatMemory
from softsgx.machine.model import Model
from softsgx.machine.package import Package
from softsgx.machine.processor import Processor

BASE = EPC_BASE
SIZE = 32 * PAGE_SIZE
TCS = BASE
TCS2 = BASE + 0x1000
SSA = BASE + 0x2000
CODE = BASE + 0xA000
DATA = BASE + 0xB000
DATA2 = BASE + 0xC000
DATA3 = BASE + 0xD000
READ_ONLY = BASE + 0xE000
ABSENT = BASE + 0xF000
OTHERS = BASE + 0x11000
SECS_PAGE = 40
OTHER_SECS_PAGE = 41

AEP = 0x7FFF_0000_1000
ENCLU_RIP = 0x5555_0000_2000
ENTRY_OFFSET = 0xA040
OFSBASGX = 0xC000
OGSBASGX = 0xD000
FLAGS = AttributeFlags.INIT | AttributeFlags.MODE64BIT
GPRSGX_OFFSET = PAGE_SIZE - Gprsgx.SIZE


class Zeros:
    """Entropy that is none, so that tests repeat."""

    def random(self, size: int) -> bytes:
        return bytes(size)


class Tables(FlatMemory):
    """Flat memory whose page tables can be told to refuse a page."""

    def __init__(self, epc_pages: int) -> None:
        super().__init__(epc_pages)
        self.absent: set[int] = set()
        self.write_protected: set[int] = set()

    def page(self, address: int, *, write: bool = False) -> int:
        at = address & -PAGE_SIZE
        code = PFEC_U | (PFEC_W if write else 0)
        if at in self.absent:
            raise PageFault(address, code, "not present")
        if write and at in self.write_protected:
            raise PageFault(address, code | PFEC_P, "write-protected")
        return super().page(address, write=write)


class World:
    """The machine, one logical processor outside, and short ways to change both."""

    def __init__(
        self, *, ssaframesize: int = 1, nssa: int = 2, xfrm: int = 3, model: Model
    ) -> None:
        self.machine = Machine.of(model, Package.from_seed(b"a seed", Zeros()))
        self.memory = Tables(model.epc_pages)
        self.lp = Processor(1, self.memory)
        self.lp.xcr0 = 0x7 | xfrm
        self.lp.xsave = bytearray(model.xsave.size(self.lp.xcr0))
        secs = replace(
            Secs.zero(),
            size=SIZE,
            baseaddr=BASE,
            ssaframesize=ssaframesize,
            attributes=Attributes(flags=FLAGS, xfrm=xfrm),
            mrenclave=b"e" * 32,
            mrsigner=b"s" * 32,
            configid=b"c" * 64,
            isvprodid=5,
            isvsvn=7,
            configsvn=3,
        )
        self.add_secs(SECS_PAGE, secs)
        self.add_secs(OTHER_SECS_PAGE, replace(secs, baseaddr=BASE + SIZE))
        for address in (TCS, TCS2):
            self.add_page(address, PageType.TCS, "")
        for address in range(SSA, CODE, PAGE_SIZE):
            self.add_page(address, PageType.REG, "rw")
        self.add_page(CODE, PageType.REG, "rx")
        for address in (DATA, DATA2, DATA3):
            self.add_page(address, PageType.REG, "rw")
        self.add_page(READ_ONLY, PageType.REG, "r")
        self.add_page(OTHERS, PageType.REG, "rw")
        self.change_epcm(OTHERS, enclavesecs=OTHER_SECS_PAGE)
        tcs = replace(
            Tcs.zero(),
            ossa=SSA - BASE,
            nssa=nssa,
            oentry=ENTRY_OFFSET,
            ofsbasgx=OFSBASGX,
            ogsbasgx=OGSBASGX,
        )
        self.put(TCS, tcs)
        self.put(TCS2, replace(tcs, ossa=SSA - BASE + 0x4000))

    # what is there

    def add_secs(self, page: int, secs: Secs) -> None:
        self.machine.enclaves[page] = EnclaveState(secs, Measurement(), page)
        self.machine.epcm[page] = EpcmEntry(valid=True, pt=PageType.SECS)

    def add_page(self, address: int, page_type: PageType, permissions: str) -> None:
        self.machine.epcm[epc_page(address)] = EpcmEntry(
            valid=True,
            r="r" in permissions,
            w="w" in permissions,
            x="x" in permissions,
            pt=page_type,
            enclavesecs=SECS_PAGE,
            enclaveaddress=address & -PAGE_SIZE,
        )

    def entry(self, address: int) -> EpcmEntry:
        return self.machine.epcm[epc_page(address)]

    def change_epcm(self, address: int, **changes: int) -> None:
        # replace() takes the types of the fields; a test names them one by one.
        changed = replace(self.entry(address), **changes)  # type: ignore[arg-type]
        self.machine.epcm[epc_page(address)] = changed

    @property
    def enclave(self) -> EnclaveState:
        return self.machine.enclaves[SECS_PAGE]

    @property
    def secs(self) -> Secs:
        return self.enclave.secs

    def change_secs(self, **changes: object) -> None:
        self.enclave.secs = replace(self.secs, **changes)  # type: ignore[arg-type]

    def change_attributes(self, flags: int, xfrm: int | None = None) -> None:
        old = self.secs.attributes
        self.change_secs(
            attributes=Attributes(
                flags=AttributeFlags(flags), xfrm=old.xfrm if xfrm is None else xfrm
            )
        )

    # bytes

    def bytes_at(self, address: int, size: int) -> bytes:
        start = address % PAGE_SIZE
        return bytes(self.machine.epc.page(epc_page(address))[start : start + size])

    def put(self, address: int, data: bytes | Layout) -> int:
        raw = bytes(data)
        start = address % PAGE_SIZE
        self.machine.epc.page(epc_page(address))[start : start + len(raw)] = raw
        return address

    def tcs(self, address: int = TCS) -> Tcs:
        return Tcs.from_bytes(self.bytes_at(address, Tcs.SIZE))

    def change_tcs(self, **changes: int) -> None:
        self.put(TCS, replace(self.tcs(), **changes))  # type: ignore[arg-type]

    def gprsgx(self, frame: int = 0) -> Gprsgx:
        return Gprsgx.from_bytes(self.bytes_at(self.gprsgx_at(frame), Gprsgx.SIZE))

    def gprsgx_at(self, frame: int = 0) -> int:
        return self.frame_at(frame + 1) - Gprsgx.SIZE

    def frame_at(self, frame: int) -> int:
        return SSA + frame * self.secs.ssaframesize * PAGE_SIZE

    def put_secinfo(self, flags: int, address: int = DATA) -> int:
        return self.put(address, Secinfo(flags=SecinfoFlags(flags)))

    # leaves

    def call(self, leaf: Enclu, rbx: int = 0, rcx: int = 0, rdx: int = 0) -> None:
        regs = self.lp.regs
        regs.rax, regs.rbx, regs.rcx, regs.rdx = int(leaf), rbx, rcx, rdx
        execute(self.machine, self.lp, int(leaf))

    def eenter(self, tcs: int = TCS, aep: int = AEP) -> None:
        self.lp.regs.rip = ENCLU_RIP
        self.call(Enclu.EENTER, tcs, aep)

    def eresume(self, tcs: int = TCS, aep: int = AEP) -> None:
        self.lp.regs.rip = ENCLU_RIP
        self.call(Enclu.ERESUME, tcs, aep)

    def eexit(self, target: int = 0x5555_0000_3000) -> None:
        self.call(Enclu.EEXIT, target)


def epc_page(address: int) -> int:
    return (address - EPC_BASE) // PAGE_SIZE


def processor_state(lp: Processor) -> tuple[object, ...]:
    """All of a logical processor, frozen for comparison."""
    state = {name: value for name, value in vars(lp).items() if name != "memory"}
    state["regs"], state["xsave"] = tuple(vars(lp.regs).items()), bytes(lp.xsave)
    return tuple(state.items())


def new_world(
    *, ssaframesize: int = 1, nssa: int = 2, xfrm: int = 3, model: Model | None = None
) -> World:
    """Return a world with the processor outside its enclave."""
    small = model or Model(epc_bytes=64 * PAGE_SIZE, xfrm=0x2E7)
    return World(ssaframesize=ssaframesize, nssa=nssa, xfrm=xfrm, model=small)


def inside_world(*, ssaframesize: int = 1, nssa: int = 2, xfrm: int = 3) -> World:
    """Return a world whose processor entered by the first TCS."""
    world = new_world(ssaframesize=ssaframesize, nssa=nssa, xfrm=xfrm)
    world.eenter()
    return world


NOT_REGULAR_AND_USABLE: dict[str, dict[str, int]] = {
    "not_valid": {"valid": False},
    "blocked": {"blocked": True},
    "not_regular": {"pt": PageType.TRIM},
    "another_enclaves": {"enclavesecs": OTHER_SECS_PAGE},
    "pending": {"pending": True},
    "modified": {"modified": True},
    "at_another_address": {"enclaveaddress": BASE + 0x1F000},
}
"""What the EPCM can say so that no leaf takes the page for an operand."""

EPCM_READ = PFEC_P | PFEC_U | PFEC_SGX
EPCM_WRITE = EPCM_READ | PFEC_W
"""Error codes of a #PF that the EPCM causes."""
