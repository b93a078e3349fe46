import pytest

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.faults import GeneralProtection, PageFault
from softsgx.arch.leaves import Encls
from softsgx.arch.secinfo import PageType
from softsgx.machine.epcm import EpcmEntry
from softsgx.machine.memory import epc_address
from tests.support import Ring0, refuses, small_enclave


@pytest.fixture
def ring0() -> Ring0:
    return small_enclave()


def test_makes_a_page_512_empty_slots_of_no_enclave(ring0: Ring0) -> None:
    ring0.machine.epc.page(9)[:] = b"x" * PAGE_SIZE
    ring0.machine.epcm[9] = EpcmEntry(r=True, blocked=True, enclaveaddress=PAGE_SIZE)
    before = ring0.enclave().children
    ring0.epa(9)
    assert ring0.machine.epcm[9] == EpcmEntry(valid=True, pt=PageType.VA)
    assert bytes(ring0.machine.epc.page(9)) == bytes(PAGE_SIZE)
    assert ring0.enclave().children == before


def test_changes_neither_rax_nor_flags(ring0: Ring0) -> None:
    ring0.lp.regs.rflags = 0x8D7
    ring0.leaf(Encls.EPA, PageType.VA, epc_address(9))
    assert (ring0.lp.regs.rax, ring0.lp.regs.rflags) == (Encls.EPA, 0x8D7)


@pytest.mark.parametrize("rbx", [0, PageType.REG, PageType.VA | 1 << 8])
def test_faults_when_rbx_is_not_pt_va(ring0: Ring0, rbx: int) -> None:
    with refuses(ring0.machine, GeneralProtection, "PT_VA"):
        ring0.call(Encls.EPA, rbx, epc_address(9))


def test_faults_when_rcx_is_not_page_aligned(ring0: Ring0) -> None:
    with refuses(ring0.machine, GeneralProtection, "RCX"):
        ring0.call(Encls.EPA, PageType.VA, epc_address(9) + 8)


def test_faults_when_rcx_is_outside_the_epc(ring0: Ring0) -> None:
    with refuses(ring0.machine, PageFault, "not in the EPC"):
        ring0.call(Encls.EPA, PageType.VA, 0x3000)


@pytest.mark.parametrize("page", [0, 3])
def test_faults_when_the_page_is_in_use(ring0: Ring0, page: int) -> None:
    with refuses(ring0.machine, PageFault, "in use"):
        ring0.epa(page)
