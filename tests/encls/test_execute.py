"""ENCLS itself: what is refused before a leaf is looked at, and what is told after."""

from contextlib import suppress

import pytest

from softsgx import encls
from softsgx.arch.errors import SgxError
from softsgx.arch.faults import Fault, GeneralProtection, InvalidOpcode
from softsgx.arch.leaves import Encls
from softsgx.arch.msr import FeatureControl
from softsgx.machine.memory import epc_address
from softsgx.machine.trace import Event, LeafExecuted
from tests.support import Ring0, make_machine, refuses, small_enclave


@pytest.fixture
def ring0() -> Ring0:
    return small_enclave()


def test_undefined_without_sgx1() -> None:
    ring0 = Ring0(make_machine({"sgx1": False}))
    with refuses(ring0.machine, InvalidOpcode, "SGX1"):
        ring0.leaf(Encls.EREMOVE, rcx=epc_address(3))


def test_undefined_outside_ring_0(ring0: Ring0) -> None:
    ring0.lp.cpl = 3
    with refuses(ring0.machine, InvalidOpcode, "ring 0"):
        ring0.leaf(Encls.EREMOVE, rcx=epc_address(3))


@pytest.mark.parametrize(
    "control",
    [FeatureControl(0), FeatureControl.LOCK, FeatureControl.SGX_ENABLE],
    ids=["nothing", "locked, not enabled", "enabled, not locked"],
)
def test_faults_unless_feature_control_is_locked_with_sgx_enabled(
    ring0: Ring0, control: FeatureControl
) -> None:
    ring0.machine.package.feature_control = control
    with refuses(ring0.machine, GeneralProtection, "IA32_FEATURE_CONTROL"):
        ring0.leaf(Encls.EREMOVE, rcx=epc_address(3))


def test_undefined_goes_before_not_enabled(ring0: Ring0) -> None:
    ring0.machine.package.feature_control = FeatureControl(0)
    ring0.lp.cpl = 3
    with refuses(ring0.machine, InvalidOpcode):
        ring0.leaf(Encls.EREMOVE, rcx=epc_address(3))


@pytest.mark.parametrize("leaf", [0x14, 0xFF])
def test_faults_on_a_leaf_that_is_not_there(ring0: Ring0, leaf: int) -> None:
    with refuses(ring0.machine, GeneralProtection, "no leaf"):
        ring0.leaf(leaf)


@pytest.mark.parametrize("leaf", sorted(encls.SGX2_LEAVES))
def test_faults_on_sgx2_leaves_without_sgx2(leaf: Encls) -> None:
    ring0 = Ring0(make_machine({"sgx2": False}))
    with refuses(ring0.machine, GeneralProtection, "no leaf"):
        ring0.leaf(leaf)


@pytest.mark.parametrize("leaf", sorted(encls.OVERSUB_LEAVES))
def test_faults_on_leaves_for_monitors_without_oversub(leaf: Encls) -> None:
    ring0 = Ring0(make_machine({"oversub": False}))
    with refuses(ring0.machine, GeneralProtection, "no leaf"):
        ring0.leaf(leaf)


def test_the_other_leaves_do_not_need_sgx2() -> None:
    ring0 = small_enclave(make_machine({"sgx2": False, "oversub": False}))
    ring0.leaf(Encls.EREMOVE, rcx=epc_address(3))
    assert not ring0.machine.epcm[3].valid


def test_runs_sgx2_leaves_with_sgx2(ring0: Ring0) -> None:
    ring0.leaf(Encls.EMODPR, ring0.secinfo(1), epc_address(3))
    assert ring0.machine.epcm[3].pr


def test_an_error_code_goes_to_rax_and_zf(ring0: Ring0) -> None:
    ring0.lp.regs.rflags = 0x8D7
    ring0.leaf(Encls.EREMOVE, rcx=epc_address(0))
    assert ring0.lp.regs.rax == SgxError.CHILD_PRESENT
    assert ring0.lp.regs.rflags == 0x42


def test_ignores_the_high_half_of_rax(ring0: Ring0) -> None:
    ring0.leaf(Encls.EREMOVE | 0xABCD << 32, rcx=epc_address(3))
    assert not ring0.machine.epcm[3].valid


def told(ring0: Ring0, leaf: Encls, rbx: int, rcx: int, rdx: int = 0) -> LeafExecuted:
    """Return the one event of a leaf."""
    events: list[Event] = []
    ring0.machine.trace = events.append
    with suppress(Fault):
        ring0.leaf(leaf, rbx, rcx, rdx)
    (event,) = events
    assert isinstance(event, LeafExecuted)
    return event


def test_tells_success_with_the_operands_as_they_were(ring0: Ring0) -> None:
    rcx = epc_address(3)
    event = told(ring0, Encls.EDBGRD, 5, rcx, 6)
    assert event == LeafExecuted(ring0.lp.id, Encls.EDBGRD, 5, rcx, 6)


def test_tells_an_error_code(ring0: Ring0) -> None:
    event = told(ring0, Encls.EREMOVE, 0, epc_address(0))
    assert event.error == SgxError.CHILD_PRESENT


def test_tells_a_fault(ring0: Ring0) -> None:
    event = told(ring0, Encls.EREMOVE, 0, 3)
    assert isinstance(event.fault, GeneralProtection)
