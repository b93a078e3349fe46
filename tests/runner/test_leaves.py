"""A thread's claims are checked: what it can have is executed, the rest faults."""

import signal
from dataclasses import replace
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from softsgx.arch.faults import (
    PFEC_SGX,
    GeneralProtection,
    InvalidOpcode,
    PageFault,
)
from softsgx.arch.leaves import Enclu
from softsgx.arch.secinfo import PageType, Secinfo, SecinfoFlags
from softsgx.driver.fault import SEGV_ACCERR
from softsgx.driver.protocols import NotYetError
from softsgx.machine.epc import Epc
from softsgx.machine.processor import RFLAGS_TF
from softsgx.native import abi, lib
from softsgx.native.abi import Debug, OpKind, Outcome
from softsgx.runner.answers import Answer
from softsgx.runner.code.enclave_code import EnclaveCode
from softsgx.runner.leaves import Leaves
from softsgx.runner.task.caller import Caller
from softsgx.runner.task.context import Context
from softsgx.runner.task.process import Process, UserTask
from tests.driver.fakes import BASE, PAGE, RW, SIZE, World
from tests.driver.test_edmm import RESTRICT, call
from tests.support import changed

TCS_AT = BASE
AEP = 0x40_1000
CODE = EnclaveCode(Epc(1), cpuid=True)


LOST = 0x5000
"""Where memory of an enclave is mapped that no driver knows."""


class Bench:
    """A process with an initialized enclave, mapped; and a thread of it."""

    def __init__(self, *, exact: bool = True) -> None:
        self.world = World()
        self.world.build(8)
        self.world.map(0, 9, RW)
        self.leaves = Leaves(self.world.driver, exact=exact, mask_pf_sgx=False)
        self.process = Process(1, self.world.mm)
        self.task = cast("UserTask", self.world.task)
        cast("Any", self.task).tid = 42
        cast("Any", self.task).process = self.process
        cast("Any", self.task).caller = Caller(42)
        cast("Any", self.task).mapped = lambda _: None
        cast("Any", self.task).is_lost = LOST.__eq__
        self.world.driver.drain()

    def context(self, **fields: int) -> Context:
        return Context.unpack(bytes(changed(abi.Context.zero(), fields)))

    def enclu(self, **fields: int) -> Context:
        context = self.context(**fields)
        self.leaves.enclu(self.task, context, Answer(self.process, CODE))
        return context

    def write(self, address: int, data: bytes) -> None:
        page = self.world.encl.page(address)
        assert page is not None
        self.world.machine.epc.page(page.epc_page)[: len(data)] = data

    def enter(self) -> Context:
        return self.enclu(rax=Enclu.EENTER, rbx=TCS_AT, rcx=AEP, rip=0x1000, xcr0=3)


@pytest.fixture(autouse=True)
def _writes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lib, "write", lambda *_: None)


def assert_faulted(context: Context, vector: int) -> None:
    assert context.outcome == Outcome.FAULT
    assert context.vector == vector
    expected = signal.SIGILL if vector == InvalidOpcode.vector else signal.SIGSEGV
    assert context.signo == expected


def test_a_thread_enters_and_leaves() -> None:
    bench = Bench()
    context = bench.enter()
    assert context.outcome == Outcome.LOAD
    assert (context.inside, context.tcs, context.aep) == (1, TCS_AT, AEP)
    assert context.regs.rip == BASE
    context.regs.rax, context.regs.rbx = Enclu.EEXIT, 0x2000
    bench.leaves.enclu(bench.task, context, Answer(bench.process, CODE))
    assert (context.outcome, context.inside) == (Outcome.LOAD, 0)
    assert (context.regs.rip, context.regs.rcx) == (0x2000, AEP)


def test_one_tcs_lets_one_thread_in() -> None:
    bench = Bench()
    bench.enter()
    assert_faulted(bench.enter(), GeneralProtection.vector)


@pytest.mark.parametrize(
    ("tcs", "why"),
    [
        (0, "no mapping"),
        (AEP, "no mapping"),
        (TCS_AT + PAGE, "a REG page"),
        (BASE + SIZE - PAGE, "no page"),
        (TCS_AT, "nobody inside"),
        ((1 << 64) - PAGE, "no address"),
    ],
)
@pytest.mark.parametrize("leaf", [Enclu.EEXIT, Enclu.EACCEPT, Enclu.EGETKEY])
def test_who_says_it_is_inside_must_be(tcs: int, why: str, leaf: Enclu) -> None:
    context = Bench().enclu(rax=leaf, inside=1, tcs=tcs, rbx=0x1000, xcr0=3)
    assert_faulted(context, GeneralProtection.vector)
    del why


def test_another_process_cannot_use_our_tcs() -> None:
    bench = Bench()
    inside = bench.enter()
    other = Bench()
    inside.regs.rax, inside.regs.rbx = Enclu.EEXIT, 0x2000
    other.leaves.enclu(other.task, inside, Answer(other.process, CODE))
    assert_faulted(inside, GeneralProtection.vector)


def test_a_tcs_that_is_being_removed_is_none() -> None:
    bench = Bench()
    context = bench.enter()
    page = bench.world.encl.page(TCS_AT)
    assert page is not None
    entry = bench.world.machine.epcm[page.epc_page]
    bench.world.machine.epcm[page.epc_page] = replace(entry, valid=False)
    context.regs.rax, context.regs.rbx = Enclu.EEXIT, 0x2000
    bench.leaves.enclu(bench.task, context, Answer(bench.process, CODE))
    assert_faulted(context, GeneralProtection.vector)


@pytest.mark.parametrize("inside", [0, 1])
def test_an_exit_that_nobody_can_make_is_refused(inside: int) -> None:
    bench = Bench()
    context = bench.context(inside=inside, tcs=TCS_AT, xcr0=3)
    with pytest.raises(OSError, match="no state save area"):
        bench.leaves.aex(bench.task, context)


def test_an_exit_saves_and_a_resume_brings_back() -> None:
    bench = Bench()
    context = bench.enter()
    context.regs.rip, context.regs.r15 = BASE + 5, 15
    context.vector = 6
    bench.leaves.aex(bench.task, context)
    assert (context.inside, context.regs.rip) == (0, AEP)
    assert (context.regs.rax, context.regs.rbx) == (Enclu.ERESUME, TCS_AT)
    assert context.regs.r15 == 0
    bench.leaves.enclu(bench.task, context, Answer(bench.process, CODE))
    assert (context.inside, context.regs.rip, context.regs.r15) == (1, BASE + 5, 15)


def test_a_leaf_that_there_is_not_faults() -> None:
    assert_faulted(Bench().enclu(rax=8), GeneralProtection.vector)


def test_entering_what_is_no_epc_is_a_page_fault() -> None:
    context = Bench().enclu(rax=Enclu.EENTER, rbx=0x1000, rcx=AEP)
    assert_faulted(context, PageFault.vector)


@pytest.mark.parametrize("leaf", [Enclu.EENTER, Enclu.ERESUME])
def test_entering_an_enclave_that_was_lost_faults_as_after_a_loss_of_power(
    leaf: int,
) -> None:
    context = Bench().enclu(rax=leaf, rbx=LOST, rcx=AEP)
    assert_faulted(context, PageFault.vector)
    assert context.error & PFEC_SGX
    assert (context.signo, context.sicode) == (11, SEGV_ACCERR)


def test_a_leaf_inside_an_enclave_that_was_lost_faults_alike() -> None:
    context = Bench().enclu(rax=Enclu.EGETKEY, inside=1, tcs=LOST)
    assert_faulted(context, PageFault.vector)
    assert (context.error & PFEC_SGX, context.address) == (PFEC_SGX, LOST)


def test_a_fault_at_memory_that_was_lost() -> None:
    bench = Bench()
    answer = Answer(bench.process, CODE)
    outside = bench.context(vector=14, address=LOST, error=4, signo=7)
    bench.leaves.fault(bench.task, outside, answer)
    assert outside.outcome == Outcome.ABORT
    inside = bench.context(inside=1, tcs=LOST, vector=14, address=0x6000, signo=7)
    bench.leaves.fault(bench.task, inside, answer)
    assert (inside.outcome, inside.signo) == (Outcome.FAULT, 11)


def test_a_fault_that_the_driver_resolves_is_tried_again() -> None:
    bench = Bench()
    bench.world.map(9, 4, RW)
    at = BASE + 10 * PAGE
    context = bench.context(inside=1, tcs=TCS_AT, vector=14, address=at, error=6)
    answer = Answer(bench.process, CODE)
    bench.leaves.fault(bench.task, context, answer)
    assert context.outcome == Outcome.RETRY
    # Pending: there is no native access yet, and no operation is due but that.
    assert len(answer.ops) == 1


def test_a_page_that_eaccept_lacks_is_added_within_the_call() -> None:
    bench = Bench()
    bench.world.map(9, 4, RW)
    secinfo, missing = BASE + 2 * PAGE, BASE + 10 * PAGE
    flags = SecinfoFlags.R | SecinfoFlags.W | SecinfoFlags.PENDING
    bench.write(secinfo, bytes(Secinfo(flags=SecinfoFlags.of(PageType.REG, flags))))
    inside = bench.enter()
    inside.regs.rax, inside.regs.rbx, inside.regs.rcx = Enclu.EACCEPT, secinfo, missing
    answer = Answer(bench.process, CODE)
    bench.leaves.enclu(bench.task, inside, answer)
    assert (inside.outcome, inside.regs.rax) == (Outcome.LOAD, 0)
    # One change of the native mapping: the rights that the page has in the end.
    (change,) = answer.ops
    assert abi.Op.from_bytes(change) == changed(
        abi.Op.zero(),
        {"kind": OpKind.PROTECT, "prot": RW, "start": missing, "end": missing + PAGE},
    )


def test_what_changed_before_a_wait_is_said_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench()
    leaves, page = bench.leaves, BASE + 5 * PAGE

    def resolve(_: UserTask, context: Context, answer: Answer) -> None:
        """Get through with one operand; the other is waited for."""
        call(bench.world, RESTRICT, 5, 1, permissions=1)
        answer.note_changes(bench.world.driver)
        context.outcome = Outcome.RETRY
        monkeypatch.setattr(leaves, "_enclu", wait)

    def wait(*_: object) -> None:
        monkeypatch.setattr(leaves, "_enclu", lambda *_: None)
        raise NotYetError(lambda: None)

    monkeypatch.setattr(leaves, "_enclu", resolve)
    context = bench.context(inside=1, tcs=TCS_AT)
    with pytest.raises(NotYetError):
        leaves.enclu(bench.task, context, Answer(bench.process, CODE))
    context.outcome = Outcome.LOAD
    answer = Answer(bench.process, CODE)
    leaves.enclu(bench.task, context, answer)
    assert [abi.Op.from_bytes(op).start for op in answer.ops] == [page]


def test_the_sgx_bit_can_be_taken_away_for_a_test() -> None:
    codes = []
    for mask in (False, True):
        bench = Bench()
        leaves = Leaves(bench.world.driver, exact=True, mask_pf_sgx=mask)
        context = bench.context(inside=1, tcs=TCS_AT, address=TCS_AT, error=5)
        leaves.fault(bench.task, context, Answer(bench.process, CODE))
        assert_faulted(context, PageFault.vector)
        codes.append(context.error)
    assert codes[0] == codes[1] | 0x8000


def test_a_fault_inside_keeps_its_whole_address_for_the_exit() -> None:
    bench = Bench()
    for inside in (0, 1):
        context = bench.context(inside=inside, tcs=TCS_AT, address=TCS_AT + 5, error=5)
        bench.leaves.fault(bench.task, context, Answer(bench.process, CODE))
        if inside:
            assert_faulted(context, PageFault.vector)
        assert context.address == TCS_AT + 5


@pytest.mark.parametrize("tf", [0, RFLAGS_TF])
def test_a_host_that_steps_has_its_tf_back_behind_eexit(tf: int) -> None:
    bench = Bench()
    context = bench.enclu(
        rax=Enclu.EENTER, rbx=TCS_AT, rcx=AEP, rip=0x1000, xcr0=3, rflags=2 | tf
    )
    assert (context.regs.rflags, context.debug) == (2, Debug.SAVE_TF * bool(tf))
    context.regs.rax, context.regs.rbx = Enclu.EEXIT, 0x2000
    bench.leaves.enclu(bench.task, context, Answer(bench.process, CODE))
    assert context.regs.rflags == 2 | tf
    assert bool(context.debug & Debug.PENDING) == bool(tf)


def test_what_the_agent_does_alone_is_not_tracked() -> None:
    for exact in (True, False):
        bench = Bench(exact=exact)
        bench.enter()
        inside = bench.world.machine.enclaves[bench.world.encl.secs].inside
        assert bool(inside) == exact


POINTERS = st.one_of(
    st.sampled_from([0, BASE, BASE + PAGE, BASE + SIZE, AEP, 0x6000_0000, 1 << 47]),
    st.integers(0, (1 << 64) - 1),
)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.sampled_from(["enclu", "fault", "aex"]),
    st.fixed_dictionaries(
        {
            "rax": st.integers(0, 12),
            "rbx": POINTERS,
            "rcx": POINTERS,
            "rdx": POINTERS,
            "rip": POINTERS,
            "inside": st.integers(0, 2),
            "tcs": POINTERS,
            "xsave": POINTERS,
            "xsavesize": st.sampled_from([0, 1, 512, 4096, 1 << 40]),
            "xcr0": POINTERS,
            "address": POINTERS,
            "vector": st.integers(0, 300),
            "error": st.integers(0, (1 << 32) - 1),
            "debug": st.integers(0, (1 << 32) - 1),
        }
    ),
    st.binary(max_size=64),
    st.sampled_from(["inside", "outside"]),
)
def test_no_context_breaks_us(
    call: str, fields: dict[str, int], tcs: bytes, where: str
) -> None:
    bench = Bench()
    if where == "inside":
        bench.enter()
        page = bench.world.encl.page(TCS_AT)
        assert page is not None
        # The program can write into enclave memory, and so into its TCS.
        bench.world.machine.epc.page(page.epc_page)[16 : 16 + len(tcs)] = tcs
    context = bench.context(**fields)
    answer = Answer(bench.process, CODE)
    try:
        if call == "enclu":
            bench.leaves.enclu(bench.task, context, answer)
        elif call == "fault":
            bench.leaves.fault(bench.task, context, answer)
        else:
            bench.leaves.aex(bench.task, context)
    except OSError:
        return
    assert len(context.pack()) == abi.Context.SIZE
