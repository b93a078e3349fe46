import pytest

from softsgx.arch.errors import SgxError
from softsgx.arch.faults import GeneralProtection, PageFault
from softsgx.arch.leaves import Encls
from softsgx.machine.memory import epc_address
from tests.support import Ring0, refuses, small_enclave


@pytest.fixture
def ring0() -> Ring0:
    return small_enclave()


def track(ring0: Ring0, page: int = 0) -> None:
    ring0.call(Encls.ETRACK, rcx=epc_address(page))


def test_begins_a_new_epoch(ring0: Ring0) -> None:
    track(ring0)
    assert ring0.enclave().epoch == 1


def test_with_nobody_inside_a_cycle_is_over_at_once(ring0: Ring0) -> None:
    track(ring0)
    assert ring0.enclave().is_tracked(0)
    track(ring0)


def test_a_cycle_ends_when_those_from_before_it_have_left(ring0: Ring0) -> None:
    enclave = ring0.enclave()
    enclave.enter(1)
    track(ring0)
    enclave.enter(2)
    assert not enclave.is_tracked(0)
    enclave.leave(1)
    assert enclave.is_tracked(0)
    track(ring0)


def test_what_happens_in_this_epoch_is_not_tracked_yet(ring0: Ring0) -> None:
    assert not ring0.enclave().is_tracked(ring0.enclave().epoch)


def test_clears_rax_and_flags(ring0: Ring0) -> None:
    ring0.lp.regs.rflags = 0x8D7
    ring0.leaf(Encls.ETRACK, rcx=epc_address(0))
    assert (ring0.lp.regs.rax, ring0.lp.regs.rflags) == (0, 0x2)


def test_faults_when_rcx_is_not_page_aligned(ring0: Ring0) -> None:
    with refuses(ring0.machine, GeneralProtection, "RCX"):
        ring0.call(Encls.ETRACK, rcx=epc_address(0) + 8)


def test_faults_when_rcx_is_outside_the_epc(ring0: Ring0) -> None:
    with refuses(ring0.machine, PageFault, "not in the EPC"):
        ring0.call(Encls.ETRACK, rcx=0x3000)


@pytest.mark.parametrize("page", [3, 9], ids=["a REG page", "a free page"])
def test_faults_when_the_page_is_not_a_secs(ring0: Ring0, page: int) -> None:
    with refuses(ring0.machine, PageFault, "not a SECS"):
        track(ring0, page)


def test_error_when_the_previous_cycle_is_not_over(ring0: Ring0) -> None:
    ring0.enclave().enter(1)
    track(ring0)
    with refuses(ring0.machine, SgxError.PREV_TRK_INCMPL):
        track(ring0)
