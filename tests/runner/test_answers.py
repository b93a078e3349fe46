"""What the agent is told of mappings of enclaves whose pages may leave."""

import pytest

from softsgx.driver.uapi import PROT_NONE, PROT_READ
from softsgx.machine.epc import Epc
from softsgx.native import abi, lib
from softsgx.native.abi import MAX_OPS, Op, OpKind
from softsgx.runner.answers import Answer, said_ops
from softsgx.runner.code.enclave_code import EnclaveCode
from softsgx.runner.task.caller import Caller
from softsgx.runner.task.process import Process
from tests.driver.fakes import BASE, PAGE, RW
from tests.driver.paged import Paged, evict
from tests.driver.test_edmm import RESTRICT, call
from tests.support import changed

CODE = EnclaveCode(Epc(1), cpuid=True)
START, END = BASE + PAGE, BASE + 21 * PAGE


@pytest.fixture
def world() -> Paged:
    world = Paged()
    world.ready(20)
    evict(world.driver, world.encl, 3, 4, 9)
    return world


def operations(answer: Answer) -> list[tuple[int, int, int, int]]:
    found = [Op.from_bytes(op) for op in answer.ops]
    return [(op.kind, op.start, op.end, op.prot) for op in found]


def test_a_mapping_is_one_and_is_opened_when_it_is_watched(world: Paged) -> None:
    answer = Answer(Process(1, world.mm), CODE)
    answer.map(world.driver, START, END)
    assert operations(answer) == [(OpKind.MAP, START, END, PROT_NONE)]
    then = Answer(Process(1, world.mm), CODE)
    then.allow(world.driver, [(world.encl, START, END), (world.encl, 0, 0)])
    assert operations(then) == [(OpKind.PROTECT, START, END, RW)]
    assert not then.is_mapping, "nobody waits for the end of it"


def test_a_mapping_from_which_no_page_can_leave_is_open_at_once(world: Paged) -> None:
    world.tables.can_evict = False
    answer = Answer(Process(1, world.mm), CODE)
    answer.map(world.driver, START, END)
    assert operations(answer) == [(OpKind.MAP, START, END, RW)]


def test_what_may_not_be_reached_needs_no_operation(world: Paged) -> None:
    answer = Answer(Process(1, world.mm), CODE)
    answer.allow(world.driver, [(world.encl, BASE, BASE + PAGE)])
    assert operations(answer) == []


def test_what_was_overtaken_is_said_as_it_is_by_now(world: Paged) -> None:
    answer = Answer(Process(1, world.mm), CODE)
    answer.protect(world.driver, START, START + 2 * PAGE)
    answer.plain_protect([(0x1000, 0x3000)], RW)
    answer.map(world.driver, END - PAGE, END)
    world.driver.mprotect(world.mm, START, PAGE, PROT_READ)
    then = Answer(Process(1, world.mm), CODE)
    then.say_again(world.driver, answer.ops)
    assert operations(then) == [
        (OpKind.PROTECT, START, START + PAGE, PROT_READ),
        (OpKind.PROTECT, START + PAGE, START + 2 * PAGE, RW),
        (OpKind.PROTECT, 0x1000, 0x3000, RW),
        (OpKind.MAP, END - PAGE, END, PROT_NONE),
    ]
    assert then.is_mapping


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (START + 1, START + 2),
        (START, 1 << 63),
        (END, START),
        (0, 0),
        ((1 << 64) - 1, 0),
    ],
)
def test_a_process_may_claim_that_anything_was_said(
    world: Paged, start: int, end: int
) -> None:
    of = Answer(Process(1, world.mm), CODE)
    of._add(OpKind.PROTECT, start, end, RW)
    answer = Answer(Process(1, world.mm), CODE)
    answer.say_again(world.driver, of.ops)
    assert all(
        START <= low < high <= END and prot in {PROT_NONE, RW}
        for _, low, high, prot in operations(answer)
    )


def test_each_answer_has_the_next_number(
    world: Paged, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[bytes] = []
    monkeypatch.setattr(lib, "write", lambda *call: sent.append(call[2]))
    process = Process(1, world.mm)
    for _ in range(3):
        answer = Answer(process, CODE)
        answer.protect(world.driver, START, END)
        answer.send(Caller(1), 0, bytes(abi.Context.SIZE))
    heads = [abi.Context.from_bytes(raw[: abi.Context.SIZE]) for raw in sent]
    assert [head.said for head in heads] == [1, 2, 3]
    process.said = (1 << 31) - 1
    assert process.number() == 1


@pytest.mark.parametrize(("claims", "count"), [(2, 2), (MAX_OPS + 1, MAX_OPS)])
def test_what_an_agent_was_told_is_read_back_but_for_mappings(
    world: Paged, monkeypatch: pytest.MonkeyPatch, claims: int, count: int
) -> None:
    answer = Answer(Process(1, world.mm), CODE)
    for at in range(MAX_OPS):
        answer._add(OpKind.PROTECT, at, at + 1)
    answer._add(OpKind.MAP, 1, 2)
    context = changed(abi.Context.zero(), {"nops": claims})
    memory = bytes(context) + b"".join(answer.ops)
    monkeypatch.setattr(lib, "read", lambda _, at, size, __: memory[at:][:size])
    assert said_ops(Caller(1), 0) == answer.ops[:count]
    memory = bytes(changed(context, {"nops": 1})) + answer.ops[-1].ljust(1 << 12)
    assert said_ops(Caller(1), 0) == []


def test_what_one_process_takes_the_others_hear_of_at_their_next_call(
    world: Paged,
) -> None:
    other = world.mm.fork()
    world.driver.drain()
    eras = world.memory.eras
    call(world, RESTRICT, 5, 1, permissions=1)
    call(world, RESTRICT, 7, 1, permissions=1)
    mine = Answer(Process(1, world.mm), CODE)
    mine.protect_changes(world.driver)
    page, later = BASE + 5 * PAGE, BASE + 7 * PAGE
    wanted = [
        (OpKind.PROTECT, page, page + PAGE, PROT_READ),
        (OpKind.PROTECT, later, later + PAGE, PROT_READ),
    ]
    assert operations(mine) == wanted
    assert world.memory.eras > eras
    theirs = Answer(Process(2, other), CODE)
    theirs.protect_changes(world.driver)
    between = (OpKind.PROTECT, page + PAGE, later, RW)
    assert operations(theirs) == [wanted[0], between, wanted[1]]
    for mm in (world.mm, other):
        again = Answer(Process(3, mm), CODE)
        again.protect_changes(world.driver)
        assert operations(again) == []


def test_of_an_enclave_that_nobody_shares_nobody_else_hears(world: Paged) -> None:
    call(world, RESTRICT, 5, 1, permissions=1)
    Answer(Process(1, world.mm), CODE).note_changes(world.driver)
    assert world.memory.eras == 0


def test_an_enclave_that_is_gone_is_nothing_to_hear_of(world: Paged) -> None:
    other = world.mm.fork()
    other.fall_behind(world.encl, START, END)
    other.clear()
    assert other.catch_up() == []
    world.mm.fall_behind(world.encl, START, END)
    world.mm.forget(world.encl)
    assert world.mm.catch_up() == []
