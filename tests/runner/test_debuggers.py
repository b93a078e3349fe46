"""What a debugger's agent reads of enclaves by the supervisor."""

import errno
from types import SimpleNamespace
from typing import cast

import pytest

from softsgx.machine.epc import Epc
from softsgx.native import lib
from softsgx.native.numbers import Call
from softsgx.runner import debuggers
from softsgx.runner.code.enclave_code import EnclaveCode
from softsgx.runner.debuggers import Memory
from softsgx.runner.task.caller import Caller
from softsgx.runner.tree import Tree
from tests.driver.fakes import BASE, PAGE
from tests.driver.paged import Paged, evict


@pytest.mark.parametrize(
    ("address", "back"), [(BASE + PAGE, {1}), (BASE + 2 * PAGE - 4, {1, 2})]
)
def test_code_of_a_production_enclave_is_not_told_but_comes_back(
    monkeypatch: pytest.MonkeyPatch, address: int, back: set[int]
) -> None:
    world = Paged()
    world.ready(3)
    assert evict(world.driver, world.encl, 1, 2, 3) == 3
    monkeypatch.setattr(debuggers, "tracer_of", lambda _: 7)
    monkeypatch.setattr(lib, "write", lambda *_: pytest.fail("told"))
    process = SimpleNamespace(mm=world.mm)
    tree = cast("Tree", SimpleNamespace(known=lambda _: process))
    memory = Memory(tree, world.driver, EnclaveCode(Epc(1), cpuid=True))
    with pytest.raises(OSError) as caught:  # noqa: PT011 -- judged below
        memory.carry_out(Caller(7), (Call.PEEK, 8, address, 0))
    assert caught.value.errno == errno.EIO
    assert world.out() == {1, 2, 3} - back
