"""ENCLV itself, and its leaves."""

from contextlib import suppress

import pytest

from softsgx import enclv
from softsgx.arch.errors import SgxError
from softsgx.arch.faults import GeneralProtection, InvalidOpcode, PageFault
from softsgx.arch.leaves import Encls, Enclv
from softsgx.arch.msr import FeatureControl
from softsgx.arch.secinfo import PageType
from softsgx.arch.vmx import ExitReason, VmExit
from softsgx.machine.memory import epc_address
from softsgx.machine.model import physical_address
from softsgx.machine.processor import Controls
from softsgx.machine.trace import Event, LeafExecuted
from tests.support import Ring0, in_guest, make_machine, refuses, small_enclave

INC, DEC, SET = Enclv.EINCVIRTCHILD, Enclv.EDECVIRTCHILD, Enclv.ESETCONTEXT
COUNTS = pytest.mark.parametrize("leaf", [INC, DEC])
VALUE = 0x6000


@pytest.fixture
def ring0() -> Ring0:
    ring0 = small_enclave()
    ring0.epa(9)
    ring0.ecreate(10)
    ring0.enclave().virtchildcnt = 5
    ring0.memory.put(VALUE, (0x7777).to_bytes(8, "little"))
    return ring0


def count(ring0: Ring0, leaf: Enclv, page: int, secs: int = 0) -> None:
    ring0.monitor(leaf, epc_address(page), epc_address(secs))


# ENCLV itself


def test_undefined_where_cpuid_does_not_have_it() -> None:
    ring0 = small_enclave(make_machine({"enclv": False}))
    with refuses(ring0.machine, InvalidOpcode, "CPUID"):
        count(ring0, INC, 0)


def test_undefined_outside_vmx_operation(ring0: Ring0) -> None:
    with refuses(ring0.machine, InvalidOpcode, "VMX"):
        enclv.execute(ring0.machine, ring0.lp, INC)


def test_undefined_outside_ring_0(ring0: Ring0) -> None:
    ring0.lp.cpl = 3
    with refuses(ring0.machine, InvalidOpcode, "ring 0"):
        count(ring0, INC, 0)


def test_undefined_in_a_guest_unless_its_monitor_lets_it(ring0: Ring0) -> None:
    ring0.machine.package.feature_control = FeatureControl(0)
    in_guest(ring0)
    with refuses(ring0.machine, InvalidOpcode, "guest"):
        count(ring0, INC, 0)


@pytest.mark.parametrize(("leaf", "bit"), [(INC, 1), (SET, 2), (100, 63)])
def test_leaves_a_guest_where_the_bitmap_says_so(
    ring0: Ring0, leaf: int, bit: int
) -> None:
    ring0.lp.controls = Controls(enclv_exiting=1 << bit)
    before = ring0.machine.snapshot()
    with pytest.raises(VmExit) as left:
        ring0.monitor(leaf, epc_address(0), epc_address(0), VALUE)
    assert (left.value.reason, ring0.machine.snapshot()) == (ExitReason.ENCLV, before)


def test_runs_in_a_guest_where_the_bitmap_does_not_say_so(ring0: Ring0) -> None:
    ring0.lp.controls = Controls(enclv_exiting=~(1 << INC))
    count(ring0, INC, 0)
    assert ring0.enclave().virtchildcnt == 6


def test_faults_unless_feature_control_enables_sgx(ring0: Ring0) -> None:
    ring0.machine.package.feature_control = FeatureControl(0)
    with refuses(ring0.machine, GeneralProtection, "IA32_FEATURE_CONTROL"):
        count(ring0, INC, 0)


def test_faults_on_a_leaf_that_is_not_there(ring0: Ring0) -> None:
    with refuses(ring0.machine, GeneralProtection, "no leaf"):
        ring0.monitor(3)


def told(ring0: Ring0, leaf: Enclv, rbx: int, rcx: int) -> LeafExecuted:
    """Return the one event of a leaf."""
    events: list[Event] = []
    ring0.machine.trace = events.append
    ring0.lp.vmx, ring0.lp.regs.rbx, ring0.lp.regs.rcx = True, rbx, rcx
    with suppress(GeneralProtection):
        enclv.execute(ring0.machine, ring0.lp, leaf)
    (event,) = events
    assert isinstance(event, LeafExecuted)
    assert (event.leaf, event.rbx, event.rcx) == (leaf, rbx, rcx)
    return event


def test_tells_how_a_leaf_ended(ring0: Ring0) -> None:
    secs, other = epc_address(0), epc_address(10)
    good = told(ring0, INC, secs, secs)
    assert (good.error, good.fault) == (None, None)
    assert told(ring0, DEC, other, other).error == SgxError.INVALID_COUNTER
    assert isinstance(told(ring0, DEC, secs, other).fault, GeneralProtection)


def test_ignores_the_high_half_of_rax(ring0: Ring0) -> None:
    ring0.monitor(INC | 0xABCD << 32, epc_address(0), epc_address(0))
    assert ring0.enclave().virtchildcnt == 6


def test_a_snapshot_has_what_the_leaves_change(ring0: Ring0) -> None:
    before = ring0.machine.snapshot()
    count(ring0, INC, 0)
    counted = ring0.machine.snapshot()
    ring0.setcontext(0, 0x7777)
    assert before != counted != ring0.machine.snapshot()


# EINCVIRTCHILD and EDECVIRTCHILD


@pytest.mark.parametrize("page", [0, 1, 3], ids=["SECS", "TCS", "REG"])
def test_the_counter_of_a_pages_secs_goes_up_and_down(ring0: Ring0, page: int) -> None:
    count(ring0, INC, page)
    assert (ring0.enclave().virtchildcnt, ring0.enclave(10).virtchildcnt) == (6, 0)
    count(ring0, DEC, page)
    assert ring0.enclave().virtchildcnt == 5


@COUNTS
def test_takes_a_trimmed_page(ring0: Ring0, leaf: Enclv) -> None:
    ring0.emodt(3, PageType.TRIM)
    count(ring0, leaf, 3)
    assert ring0.enclave().virtchildcnt != 5


@COUNTS
def test_clears_rax_and_flags(ring0: Ring0, leaf: Enclv) -> None:
    ring0.lp.regs.rflags = 0x8D7
    count(ring0, leaf, 0)
    assert (ring0.lp.regs.rax, ring0.lp.regs.rflags) == (0, 0x2)


def test_error_with_zf_below_zero(ring0: Ring0) -> None:
    with refuses(ring0.machine, SgxError.INVALID_COUNTER):
        count(ring0, DEC, 10, 10)
    assert ring0.lp.regs.rflags == 0x42


@COUNTS
@pytest.mark.parametrize(
    ("rbx", "rcx", "why"),
    [
        (epc_address(30) + 8, 0x3000, "RBX"),
        (epc_address(0), epc_address(10), "not the SECS"),
        (epc_address(10), epc_address(0), "not the SECS"),
        (epc_address(3), epc_address(10), "not the SECS"),
        (epc_address(3), epc_address(3), "not the SECS"),
        (epc_address(3), epc_address(0) + 8, "not the SECS"),
    ],
)
def test_faults_when_rcx_is_not_the_secs(
    ring0: Ring0, leaf: Enclv, rbx: int, rcx: int, why: str
) -> None:
    with refuses(ring0.machine, GeneralProtection, why):
        ring0.monitor(leaf, rbx, rcx)


@COUNTS
@pytest.mark.parametrize(
    ("rbx", "rcx", "why"),
    [
        (0x3000, epc_address(0), "not in the EPC"),
        (epc_address(30), 0x3000, "not in the EPC"),
        (epc_address(30), epc_address(10), "not valid"),
        (epc_address(9), epc_address(10), "neither a SECS"),
    ],
)
def test_faults_on_a_page_that_has_no_secs(
    ring0: Ring0, leaf: Enclv, rbx: int, rcx: int, why: str
) -> None:
    with refuses(ring0.machine, PageFault, why):
        ring0.monitor(leaf, rbx, rcx)


# What the counter is for


@pytest.mark.parametrize("leaf", [Encls.EREMOVE, Encls.EWB])
def test_a_guests_secs_stays_while_its_monitor_has_pages_of_it(
    ring0: Ring0, leaf: Encls
) -> None:
    def go(secs: int) -> None:
        if leaf == Encls.EWB:
            ring0.ewb(secs, 9)
        else:
            ring0.on_page(leaf, secs)

    count(ring0, INC, 10, 10)
    in_guest(ring0)
    with refuses(ring0.machine, SgxError.CHILD_PRESENT):
        go(10)
    ring0.lp.controls = Controls()
    go(10)
    assert 10 not in ring0.machine.enclaves


def test_a_secs_comes_back_with_its_counter_and_a_context_of_its_new_place(
    ring0: Ring0,
) -> None:
    count(ring0, INC, 10, 10)
    ring0.setcontext(10, 0x7777)
    ring0.eld(Encls.ELDU, ring0.ewb(10, 9), 12, 9, secs=None)
    enclave = ring0.enclave(12)
    assert (enclave.virtchildcnt, enclave.enclavecontext) == (1, physical_address(12))


# ESETCONTEXT


def test_sets_the_context(ring0: Ring0) -> None:
    ring0.monitor(SET, rcx=epc_address(0), rdx=VALUE)
    assert ring0.enclave().enclavecontext == 0x7777
    assert ring0.enclave(10).enclavecontext == physical_address(10)


@pytest.mark.parametrize(
    ("rcx", "rdx", "why"),
    [(epc_address(0) + 8, 0x9000, "RCX"), (epc_address(30), VALUE + 4, "RDX")],
)
def test_faults_on_a_misaligned_operand(
    ring0: Ring0, rcx: int, rdx: int, why: str
) -> None:
    with refuses(ring0.machine, GeneralProtection, why):
        ring0.monitor(SET, rcx=rcx, rdx=rdx)


@pytest.mark.parametrize(
    ("rcx", "rdx", "why"),
    [
        (0x3000, VALUE + 4, "not in the EPC"),
        (epc_address(30), 0x9000, "nothing mapped"),
        (epc_address(30), VALUE, "not a SECS"),
        (epc_address(3), VALUE, "not a SECS"),
    ],
)
def test_faults_on_a_page_that_is_no_secs(
    ring0: Ring0, rcx: int, rdx: int, why: str
) -> None:
    with refuses(ring0.machine, PageFault, why):
        ring0.monitor(SET, rcx=rcx, rdx=rdx)
