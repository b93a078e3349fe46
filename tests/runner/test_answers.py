"""What the agent is told of mappings of enclaves whose pages may leave."""

import pytest

from softsgx.driver.uapi import PROT_NONE
from softsgx.machine.epc import Epc
from softsgx.native.abi import Op, OpKind
from softsgx.runner.answers import Answer
from softsgx.runner.code.enclave_code import EnclaveCode
from softsgx.runner.task.process import Process
from tests.driver.fakes import BASE, PAGE, RW
from tests.driver.paged import Paged, evict

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
    answer.map(world.driver, 5, START, END)
    assert operations(answer) == [(OpKind.MAP, START, END, PROT_NONE)]
    then = Answer(Process(1, world.mm), CODE)
    then.allow(world.driver, [(world.encl, START, END), (world.encl, 0, 0)])
    assert operations(then) == [(OpKind.PROTECT, START, END, RW)]
    assert not then.is_mapping, "nobody waits for the end of it"


def test_a_mapping_from_which_no_page_can_leave_is_open_at_once(world: Paged) -> None:
    world.tables.can_evict = False
    answer = Answer(Process(1, world.mm), CODE)
    answer.map(world.driver, 5, START, END)
    assert operations(answer) == [(OpKind.MAP, START, END, RW)]


def test_what_may_not_be_reached_needs_no_operation(world: Paged) -> None:
    answer = Answer(Process(1, world.mm), CODE)
    answer.allow(world.driver, [(world.encl, BASE, BASE + PAGE)])
    assert operations(answer) == []
