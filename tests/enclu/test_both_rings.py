"""Both rings on one enclave: what the system changes, the enclave accepts."""

from dataclasses import replace

import pytest

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.errors import LeafFailed, SgxError
from softsgx.arch.faults import GeneralProtection, PageFault
from softsgx.arch.leaves import Encls, Enclu
from softsgx.arch.secinfo import PageType, Secinfo, SecinfoFlags
from softsgx.arch.tcs import Tcs
from softsgx.enclu import execute
from softsgx.machine.aex import asynchronous_exit
from softsgx.machine.machine import Machine
from softsgx.machine.processor import Processor
from tests.support import BASE, SIZE, Ring0, make_machine, small_enclave

AEP = 0x5555_0000
SECINFO = BASE + 2 * PAGE_SIZE
NEW, NEW_PAGE = 0x10_000, 10
R, W, X = SecinfoFlags.R, SecinfoFlags.W, SecinfoFlags.X
PENDING, MODIFIED, PR = SecinfoFlags.PENDING, SecinfoFlags.MODIFIED, SecinfoFlags.PR


class Mapped:
    """Linear memory in which every page of the enclave is mapped where it belongs."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def load(self, address: int, size: int) -> bytes:
        raise PageFault(address, 4, f"{size} bytes outside")

    def store(self, address: int, data: bytes) -> None:
        raise PageFault(address, 6, f"{len(data)} bytes outside")

    def page(self, address: int, *, write: bool = False) -> int:
        for number, entry in self.machine.epcm.contents().items():
            if entry.valid and entry.enclaveaddress == address & -PAGE_SIZE:
                return number
        raise PageFault(address, 6 if write else 4, "nothing mapped")


class Rings:
    """Ring 0 with an initialized enclave, and a thread of it."""

    def __init__(self) -> None:
        self.ring0: Ring0 = small_enclave(make_machine(pages=64))
        self.machine = self.ring0.machine
        self.lp = Processor(7, Mapped(self.machine))

    def enclu(self, leaf: Enclu, rbx: int = 0, rcx: int = 0, rdx: int = 0) -> int:
        regs = self.lp.regs
        regs.rax, regs.rbx, regs.rcx, regs.rdx = int(leaf), rbx, rcx, rdx
        execute(self.machine, self.lp, int(leaf))
        return regs.rax

    def enter(self, tcs: int = BASE) -> None:
        self.enclu(Enclu.EENTER, tcs, AEP)

    def accept(self, page_type: PageType, bits: int, target: int = BASE + NEW) -> int:
        page = self.machine.epc.page(3)
        page[: Secinfo.SIZE] = bytes(Secinfo(flags=SecinfoFlags.of(page_type, bits)))
        return self.enclu(Enclu.EACCEPT, SECINFO, target)

    def etrack(self) -> None:
        self.ring0.on_page(Encls.ETRACK, 0)


@pytest.fixture
def rings() -> Rings:
    return Rings()


def test_an_enclave_that_ring_0_built_can_be_entered(rings: Rings) -> None:
    rings.enter()
    assert rings.lp.regs.rip == BASE
    rings.enclu(Enclu.EEXIT, 0x1234)
    assert rings.lp.regs.rip == 0x1234


def test_an_enclave_before_einit_cannot_be_entered() -> None:
    rings = Rings()
    rings.ring0 = small_enclave(make_machine(pages=64), initialized=False)
    rings.machine = rings.ring0.machine
    rings.lp = Processor(7, Mapped(rings.machine))
    with pytest.raises(GeneralProtection, match="not initialized"):
        rings.enter()


def test_an_augmented_page_is_accepted_without_tracking(rings: Rings) -> None:
    rings.enter()
    rings.ring0.eaug(NEW_PAGE, NEW)
    assert rings.accept(PageType.REG, R | W | PENDING) == 0
    assert not rings.machine.epcm[NEW_PAGE].pending


def test_a_restricted_page_is_accepted_after_tracking_and_an_exit(rings: Rings) -> None:
    rings.enter()
    rings.ring0.eaug(NEW_PAGE, NEW)
    rings.accept(PageType.REG, R | W | PENDING)
    rings.ring0.emodpr(NEW_PAGE, R)
    assert rings.accept(PageType.REG, R | PR) == SgxError.NOT_TRACKED
    rings.etrack()
    assert rings.accept(PageType.REG, R | PR) == SgxError.NOT_TRACKED
    asynchronous_exit(rings.machine, rings.lp, 32)
    rings.enclu(Enclu.ERESUME, BASE, AEP)
    assert rings.accept(PageType.REG, R | PR) == 0


def test_a_page_becomes_a_tcs_that_is_entered_and_then_trimmed(rings: Rings) -> None:
    ring0 = rings.ring0
    ring0.eaug(NEW_PAGE, NEW)
    rings.enter()
    rings.accept(PageType.REG, R | W | PENDING)
    image = replace(Tcs.zero(), ossa=SIZE // 2, nssa=1, oentry=PAGE_SIZE)
    rings.machine.epc.page(NEW_PAGE)[:] = bytes(image)
    rings.enclu(Enclu.EEXIT, 0)
    ring0.emodt(NEW_PAGE, PageType.TCS)
    with pytest.raises(PageFault):
        rings.enter(BASE + NEW)
    rings.etrack()
    rings.enter()
    assert rings.accept(PageType.TCS, MODIFIED) == 0
    rings.enclu(Enclu.EEXIT, 0)
    rings.enter(BASE + NEW)
    assert rings.lp.regs.rip == BASE + PAGE_SIZE
    rings.enclu(Enclu.EEXIT, 0)
    ring0.emodt(NEW_PAGE, PageType.TRIM)
    rings.etrack()
    rings.enter()
    assert rings.accept(PageType.TRIM, MODIFIED) == 0
    rings.enclu(Enclu.EEXIT, 0)
    with pytest.raises(PageFault):
        rings.enter(BASE + NEW)


def test_the_system_cannot_begin_a_cycle_while_an_old_thread_is_inside(
    rings: Rings,
) -> None:
    rings.enter()
    rings.etrack()
    with pytest.raises(LeafFailed, match="PREV_TRK_INCMPL"):
        rings.etrack()
    rings.enclu(Enclu.EEXIT, 0)
    rings.etrack()


def test_a_page_added_by_copy_holds_the_code_of_another(rings: Rings) -> None:
    rings.enter()
    rings.ring0.eaug(NEW_PAGE, NEW)
    rings.machine.epc.page(2)[:4] = b"code"
    secinfo = bytes(Secinfo(flags=SecinfoFlags.of(PageType.REG, R | X)))
    rings.machine.epc.page(3)[: Secinfo.SIZE] = secinfo
    source = BASE + PAGE_SIZE
    assert rings.enclu(Enclu.EACCEPTCOPY, SECINFO, BASE + NEW, source) == 0
    entry = rings.machine.epcm[NEW_PAGE]
    assert (entry.r, entry.w, entry.x) == (True, False, True)
    assert bytes(rings.machine.epc.page(NEW_PAGE)[:4]) == b"code"
