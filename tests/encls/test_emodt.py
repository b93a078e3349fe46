from dataclasses import replace

import pytest

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.errors import SgxError
from softsgx.arch.faults import GeneralProtection, PageFault
from softsgx.arch.leaves import Encls
from softsgx.arch.secinfo import PageType, SecinfoFlags
from softsgx.machine.epcm import EpcmEntry
from softsgx.machine.memory import epc_address
from tests.support import Ring0, refuses, small_enclave

TRIM, TCS = PageType.TRIM, PageType.TCS


@pytest.fixture
def ring0() -> Ring0:
    return small_enclave()


@pytest.mark.parametrize(("page", "new"), [(3, TCS), (3, TRIM), (1, TRIM)])
def test_changes_the_type_and_takes_all_permissions(
    ring0: Ring0, page: int, new: PageType
) -> None:
    machine = ring0.machine
    machine.epcm[page] = replace(machine.epcm[page], pr=True)
    address = machine.epcm[page].enclaveaddress
    ring0.on_page(Encls.ETRACK, 0)
    ring0.emodt(page, new)
    assert machine.epcm[page] == EpcmEntry(
        valid=True, pt=new, enclaveaddress=address, modified=True, epoch=1
    )


def test_clears_rax_and_flags(ring0: Ring0) -> None:
    ring0.lp.regs.rflags = 0x8D7
    ring0.emodt(3, TRIM)
    assert (ring0.lp.regs.rax, ring0.lp.regs.rflags) == (0, 0x2)


def test_faults_when_rbx_is_not_64_byte_aligned(ring0: Ring0) -> None:
    with refuses(ring0.machine, GeneralProtection, "RBX"):
        ring0.call(Encls.EMODT, ring0.secinfo(0x400) + 32, epc_address(3))


def test_faults_when_rcx_is_not_page_aligned(ring0: Ring0) -> None:
    with refuses(ring0.machine, GeneralProtection, "RCX"):
        ring0.call(Encls.EMODT, ring0.secinfo(0x400), epc_address(3) + 64)


def test_faults_when_rcx_is_outside_the_epc(ring0: Ring0) -> None:
    with refuses(ring0.machine, PageFault, "not in the EPC"):
        ring0.call(Encls.EMODT, ring0.secinfo(0x400), 0x3000)


@pytest.mark.parametrize("bit", [6, 7, 16, 63])
def test_faults_on_reserved_secinfo_flags(ring0: Ring0, bit: int) -> None:
    rbx = ring0.secinfo(SecinfoFlags.of(TRIM, 1 << bit))
    with refuses(ring0.machine, GeneralProtection, "reserved bits"):
        ring0.call(Encls.EMODT, rbx, epc_address(3))


def test_faults_on_reserved_secinfo_bytes(ring0: Ring0) -> None:
    rbx = ring0.secinfo(SecinfoFlags.of(TRIM), bytes(55) + b"\1")
    with refuses(ring0.machine, GeneralProtection, "reserved bits"):
        ring0.call(Encls.EMODT, rbx, epc_address(3))


@pytest.mark.parametrize("new", [PageType.SECS, PageType.REG, PageType.VA, 9])
def test_faults_on_other_new_types(ring0: Ring0, new: int) -> None:
    with refuses(ring0.machine, GeneralProtection, "neither of a TCS nor"):
        ring0.emodt(3, new)


def test_faults_when_the_page_is_not_valid(ring0: Ring0) -> None:
    with refuses(ring0.machine, PageFault, "not valid"):
        ring0.emodt(9, TRIM)


@pytest.mark.parametrize(
    ("page", "new"), [(1, TCS), (0, TRIM), (0, TCS)], ids=["TCS", "SECS", "SECS, TCS"]
)
def test_faults_when_the_page_cannot_become_that(
    ring0: Ring0, page: int, new: PageType
) -> None:
    with refuses(ring0.machine, PageFault, "cannot become"):
        ring0.emodt(page, new)


def test_faults_on_an_accepted_trim(ring0: Ring0) -> None:
    ring0.emodt(3, TRIM)
    machine = ring0.machine
    machine.epcm[3] = replace(machine.epcm[3], modified=False)
    with refuses(machine, PageFault, "cannot become"):
        ring0.emodt(3, TRIM)


def test_error_when_the_page_is_pending(ring0: Ring0) -> None:
    ring0.eaug(9, 5 * PAGE_SIZE)
    with refuses(ring0.machine, SgxError.PAGE_NOT_MODIFIABLE, "PENDING"):
        ring0.emodt(9, TRIM)


def test_error_when_the_page_is_modified(ring0: Ring0) -> None:
    ring0.emodt(3, TCS)
    with refuses(ring0.machine, SgxError.PAGE_NOT_MODIFIABLE, "MODIFIED"):
        ring0.emodt(3, TRIM)


def test_faults_when_the_enclave_is_not_initialized() -> None:
    ring0 = small_enclave(initialized=False)
    with refuses(ring0.machine, GeneralProtection, "not initialized"):
        ring0.emodt(3, TRIM)
