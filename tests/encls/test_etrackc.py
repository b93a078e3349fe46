import pytest

from softsgx.arch.errors import SgxError
from softsgx.arch.faults import GeneralProtection, PageFault
from softsgx.arch.leaves import Encls
from softsgx.arch.secinfo import PageType
from softsgx.arch.vmx import Conflict, ExitReason, VmExit
from softsgx.machine.memory import epc_address
from softsgx.machine.processor import Controls
from tests.support import Ring0, in_guest, refuses, small_enclave


@pytest.fixture
def ring0() -> Ring0:
    return small_enclave()


def track(ring0: Ring0, page: int) -> None:
    ring0.call(Encls.ETRACKC, rcx=epc_address(page))


@pytest.mark.parametrize("page", [0, 1, 3], ids=["SECS", "TCS", "REG"])
def test_begins_a_new_epoch_of_the_pages_enclave(ring0: Ring0, page: int) -> None:
    ring0.ecreate(9)
    track(ring0, page)
    assert (ring0.enclave().epoch, ring0.enclave(9).epoch) == (1, 0)


def test_takes_a_trimmed_page(ring0: Ring0) -> None:
    ring0.emodt(3, PageType.TRIM)
    track(ring0, 3)
    assert ring0.enclave().epoch == 1


def test_clears_rax_and_flags(ring0: Ring0) -> None:
    ring0.lp.regs.rflags = 0x8D7
    ring0.leaf(Encls.ETRACKC, rcx=epc_address(3))
    assert (ring0.lp.regs.rax, ring0.lp.regs.rflags) == (0, 0x2)


def test_faults_when_rcx_is_not_page_aligned(ring0: Ring0) -> None:
    with refuses(ring0.machine, GeneralProtection, "RCX"):
        ring0.call(Encls.ETRACKC, rcx=epc_address(9) + 8)


def test_faults_when_rcx_is_outside_the_epc(ring0: Ring0) -> None:
    with refuses(ring0.machine, PageFault, "not in the EPC"):
        ring0.call(Encls.ETRACKC, rcx=0x3000)


def test_error_with_zf_on_a_free_page(ring0: Ring0) -> None:
    with refuses(ring0.machine, SgxError.PG_INVLD):
        track(ring0, 9)
    ring0.leaf(Encls.ETRACKC, rcx=epc_address(9))
    assert ring0.lp.regs.rflags == 0x42


def test_error_with_cf_on_a_version_array(ring0: Ring0) -> None:
    ring0.epa(9)
    with refuses(ring0.machine, SgxError.TRACK_NOT_REQUIRED):
        track(ring0, 9)
    ring0.leaf(Encls.ETRACKC, rcx=epc_address(9))
    assert ring0.lp.regs.rflags == 0x3


@pytest.fixture
def tracking(ring0: Ring0) -> Ring0:
    """An enclave whose last cycle is not over."""
    ring0.enclave().enter(1)
    track(ring0, 0)
    ring0.setcontext(0, 0x7777)
    return ring0


BOTH = pytest.mark.parametrize("leaf", [Encls.ETRACK, Encls.ETRACKC])


@BOTH
@pytest.mark.parametrize("controls", [None, Controls()], ids=["root", "a plain guest"])
def test_error_when_the_previous_cycle_is_not_over(
    tracking: Ring0, leaf: Encls, controls: Controls | None
) -> None:
    tracking.lp.controls = controls
    with refuses(tracking.machine, SgxError.PREV_TRK_INCMPL):
        tracking.call(leaf, rcx=epc_address(0))
    tracking.leaf(leaf, rcx=epc_address(0))
    assert tracking.lp.regs.rflags == 0x42


@BOTH
def test_a_guest_that_does_not_see_who_is_inside_leaves_to_its_monitor(
    tracking: Ring0, leaf: Encls
) -> None:
    in_guest(tracking)
    before = tracking.machine.snapshot()
    with pytest.raises(VmExit, match=r"SGX_CONFLICT, code 1, at 0x7777") as left:
        tracking.leaf(leaf, rcx=epc_address(0))
    assert tracking.machine.snapshot() == before
    assert left.value.reason == ExitReason.SGX_CONFLICT
    assert left.value.code == Conflict.TRACKING_REFERENCE_CONFLICT
    assert left.value.guest_physical == 0x7777
