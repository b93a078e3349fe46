import pytest

from softsgx.arch.errors import SgxError
from softsgx.arch.faults import GeneralProtection, PageFault
from softsgx.arch.leaves import Encls
from softsgx.arch.secinfo import PageType
from softsgx.machine.epcm import EpcmEntry
from softsgx.machine.memory import epc_address
from tests.support import Ring0, make_machine, refuses, small_enclave


@pytest.fixture
def ring0() -> Ring0:
    return small_enclave()


def remove(ring0: Ring0, page: int) -> None:
    ring0.call(Encls.EREMOVE, rcx=epc_address(page))


def accept_trim(ring0: Ring0, page: int) -> None:
    """What EACCEPT does to a trimmed page."""
    ring0.emodt(page, PageType.TRIM)
    entry = ring0.machine.epcm[page]
    ring0.machine.epcm[page] = EpcmEntry(
        valid=True, pt=PageType.TRIM, enclaveaddress=entry.enclaveaddress
    )


def test_frees_a_page_of_an_enclave(ring0: Ring0) -> None:
    remove(ring0, 3)
    assert ring0.machine.epcm[3] == EpcmEntry()
    assert ring0.enclave().children == 3


def test_frees_a_secs_whose_children_are_gone(ring0: Ring0) -> None:
    for page in (1, 2, 3, 4, 0):
        remove(ring0, page)
    assert ring0.machine.enclaves == {}
    assert ring0.machine.epcm.contents() == {}


def test_leaves_a_free_page_alone(ring0: Ring0) -> None:
    before = ring0.machine.snapshot()
    remove(ring0, 9)
    assert ring0.machine.snapshot() == before


def test_clears_rax_and_flags(ring0: Ring0) -> None:
    ring0.lp.regs.rflags = 0x8D7
    ring0.leaf(Encls.EREMOVE, rcx=epc_address(3))
    assert (ring0.lp.regs.rax, ring0.lp.regs.rflags) == (0, 0x2)


def test_frees_a_va_page(ring0: Ring0) -> None:
    ring0.machine.epcm[9] = EpcmEntry(valid=True, pt=PageType.VA)
    ring0.enclave().enter(1)
    remove(ring0, 9)
    assert not ring0.machine.epcm[9].valid
    assert ring0.enclave().children == 4


def test_faults_when_rcx_is_not_page_aligned(ring0: Ring0) -> None:
    with refuses(ring0.machine, GeneralProtection, "RCX"):
        ring0.call(Encls.EREMOVE, rcx=epc_address(3) + 256)


def test_faults_when_rcx_is_outside_the_epc(ring0: Ring0) -> None:
    with refuses(ring0.machine, PageFault, "not in the EPC"):
        ring0.call(Encls.EREMOVE, rcx=0x3000)


def test_error_when_a_secs_has_children(ring0: Ring0) -> None:
    with refuses(ring0.machine, SgxError.CHILD_PRESENT):
        remove(ring0, 0)


@pytest.mark.parametrize("page", [1, 3], ids=["TCS", "REG"])
def test_error_when_a_thread_is_inside(ring0: Ring0, page: int) -> None:
    ring0.enclave().enter(1)
    with refuses(ring0.machine, SgxError.ENCLAVE_ACT):
        remove(ring0, page)
    ring0.enclave().leave(1)
    remove(ring0, page)


def test_error_for_a_trimmed_page_not_accepted_with_a_thread_inside(
    ring0: Ring0,
) -> None:
    ring0.emodt(3, PageType.TRIM)
    ring0.enclave().enter(1)
    with refuses(ring0.machine, SgxError.ENCLAVE_ACT):
        remove(ring0, 3)


def test_an_accepted_trim_goes_with_a_thread_inside(ring0: Ring0) -> None:
    accept_trim(ring0, 3)
    ring0.enclave().enter(1)
    remove(ring0, 3)
    assert not ring0.machine.epcm[3].valid
    assert ring0.enclave().children == 3


def test_a_free_page_is_nobodys_whatever_its_entry_still_says(ring0: Ring0) -> None:
    ring0.machine.epcm[9] = EpcmEntry(valid=False, pt=PageType.REG)
    ring0.enclave().enter(1)
    before = ring0.machine.snapshot()
    remove(ring0, 9)
    assert ring0.machine.snapshot() == before


def test_threads_of_another_enclave_do_not_matter() -> None:
    ring0 = small_enclave(make_machine())
    ring0.ecreate(20)
    ring0.enclave(20).enter(1)
    remove(ring0, 3)
