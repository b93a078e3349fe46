"""A thread's context and the operations, in the bytes that the agent reads."""

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softsgx.driver.mm import Mm
from softsgx.machine.epc import Epc
from softsgx.machine.memory import FlatMemory
from softsgx.machine.processor import Processor, Regs
from softsgx.native import abi, lib
from softsgx.native.abi import MAX_OPS, Op, OpFlag, OpKind, Outcome
from softsgx.runner.answers import TAIL_OFFSET, Answer
from softsgx.runner.code.enclave_code import EnclaveCode
from softsgx.runner.task.caller import Caller
from softsgx.runner.task.context import Context
from softsgx.runner.task.process import Process
from tests.support import make_secs

TID = 7
CODE = EnclaveCode(Epc(1), cpuid=True)
AT = 0x5000
CELLS = {cell.name: cell for cell in abi.Context.cells()}


def values() -> st.SearchStrategy[dict[str, int]]:
    sizes = {name: cell.size for name, cell in CELLS.items()}
    return st.fixed_dictionaries(
        {name: st.integers(0, (1 << 8 * size) - 1) for name, size in sizes.items()}
    )


def field_of(context: Context, name: str) -> int:
    holder = context if hasattr(context, name) else context.regs
    value: int = getattr(holder, name)
    return value


@given(values())
def test_a_context_is_the_layout_field_by_field(given_values: dict[str, int]) -> None:
    raw = bytes(abi.Context(**given_values))
    context = Context.unpack(raw)
    assert {name: field_of(context, name) for name in CELLS} == given_values
    assert context.pack() == raw


def test_no_field_is_on_one_side_only() -> None:
    mine = {field.name for field in fields(Context)} - {"regs"}
    assert mine | {field.name for field in fields(Regs)} == set(CELLS)


def test_a_negative_signal_code_is_sent_as_the_kernel_has_it() -> None:
    context = replace(Context.unpack(bytes(abi.Context.SIZE)), sicode=-6)
    sent = abi.Context.from_bytes(context.pack())
    assert sent.sicode == (1 << 32) - 6


def test_the_processor_is_shown_to_the_thread() -> None:
    context = Context.unpack(bytes(abi.Context.SIZE))
    lp = Processor(TID, FlatMemory(1), Regs(rax=5, rip=9))
    lp.enclave_mode = True
    lp.cr_tcs_la, lp.aep, lp.cr_save_fs, lp.cr_save_gs = 1, 2, 3, 4
    context.take(lp)
    assert (context.regs.rax, context.regs.rip, context.inside) == (5, 9, 1)
    assert (context.tcs, context.aep, context.savefs, context.savegs) == (1, 2, 3, 4)
    assert context.outcome == Outcome.LOAD


@given(
    st.sampled_from(OpKind),
    st.integers(0, 7),
    *[st.integers(0, (1 << 64) - 1)] * 3,
    st.sampled_from([OpFlag(0), *OpFlag]),
)
def test_an_operation_is_its_layout(
    kind: OpKind, prot: int, start: int, end: int, offset: int, flags: OpFlag
) -> None:
    answer = Answer(Process(1, Mm(owner=1)), CODE)
    answer._add(kind, start, end, prot, offset, flags)
    wanted = Op(
        kind=kind, prot=prot, start=start, end=end, offset=offset, fd=0, flags=flags
    )
    assert answer.ops == [bytes(wanted)]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, bytes]]:
    calls: list[tuple[int, int, bytes]] = []
    monkeypatch.setattr(
        lib, "write", lambda tid, address, data, _: calls.append((tid, address, data))
    )
    return calls


def decode(payload: bytes) -> tuple[abi.Context, list[int]]:
    """Return the context that the agent sees, and where its operations start."""
    head = abi.Context.from_bytes(
        bytes(TAIL_OFFSET) + payload[: abi.Context.SIZE - TAIL_OFFSET]
    )
    rest = payload[abi.Context.SIZE - TAIL_OFFSET :]
    assert len(rest) == head.nops * Op.SIZE
    pieces = (rest[at : at + Op.SIZE] for at in range(0, len(rest), Op.SIZE))
    return head, [Op.from_bytes(piece).start for piece in pieces]


@pytest.mark.parametrize("count", [1, MAX_OPS, MAX_OPS + 1, 3 * MAX_OPS, 100])
def test_operations_that_do_not_fit_come_in_order_when_asked_for(
    sent: list[tuple[int, int, bytes]], count: int
) -> None:
    process = Process(1, Mm(owner=1))
    answer = Answer(process, CODE)
    answer.plain_protect([(at, at + 1) for at in range(count)], 0)
    answer.send(Caller(TID), AT)
    seen: list[int] = []
    while True:
        tid, address, payload = sent.pop()
        assert (tid, address) == (TID, AT + TAIL_OFFSET)
        head, starts = decode(payload)
        assert 0 < head.nops <= MAX_OPS
        seen += starts
        if not head.more:
            break
        Answer(process, CODE, process.pending.pop(TID)).send(Caller(TID), AT)
    assert seen == list(range(count))
    assert not process.pending


def test_no_operations_write_nothing(sent: list[tuple[int, int, bytes]]) -> None:
    Answer(Process(1, Mm(owner=1)), CODE).send(Caller(TID), AT)
    assert sent == []


def test_an_attached_enclave_is_described(sent: list[tuple[int, int, bytes]]) -> None:
    answer = Answer(Process(1, Mm(owner=1)), CODE, secs=make_secs(ssaframesize=2))
    answer.plain_protect([(0, 1)], 0)
    answer.send(Caller(TID), AT)
    head, _ = decode(sent[0][2])
    assert (head.ssaframesize, head.xfrm, head.miscselect) == (2, 3, 0)
    assert head.attributes == int(make_secs().attributes.flags)
