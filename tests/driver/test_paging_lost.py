"""Pages that cannot leave the EPC, or cannot come back."""

import errno
from collections.abc import Callable

import pytest

from softsgx.driver.encl import CLUSTER
from softsgx.driver.fault import Resolved, Signal
from tests.driver.fakes import (
    BASE,
    PAGE,
    RW,
    refused,
    swap,
)
from tests.driver.invariants import assert_sound
from tests.driver.paged import Paged, evict
from tests.driver.test_edmm import RESTRICT, call


def spoil_contents(world: Paged, index: int) -> None:
    world.memory.store.bytes[index * PAGE + 99] ^= 1


def spoil_pcmd(world: Paged, index: int) -> None:
    world.memory.store.bytes[world.encl.size + PAGE + index * 128 + 120] ^= 1


def cut(world: Paged, index: int) -> None:
    del world.memory.store.bytes[index * PAGE + 10 :]


def exchange(world: Paged, index: int) -> None:
    """Put another page of the enclave, as it went out, in its place."""
    store, other = world.memory.store.bytes, index + 1
    for base, size in ((0, PAGE), (world.encl.size + PAGE, 128)):
        start = base + index * size
        store[start : start + size] = store[base + other * size :][:size]


@pytest.mark.parametrize("spoil", [spoil_contents, spoil_pcmd, cut, exchange])
def test_a_page_that_comes_back_as_another_one_is_lost(
    spoil: Callable[[Paged, int], None],
) -> None:
    world = Paged()
    world.ready(20)
    lost: list[str] = []
    swap(world.driver.gate, "lost", lambda _, why: lost.append(why))
    evict(world.driver, world.encl, 5, 6, 9)
    spoil(world, 5)
    outcome = world.touch(5)
    assert isinstance(outcome, Signal)
    assert (outcome.signo, outcome.si_code) == (7, 2)
    (why,) = lost
    page = f"page {BASE + 5 * PAGE:#x}"
    assert why == f"{page}: ELDU: SGX_MAC_COMPARE_FAIL" or spoil is cut
    assert isinstance(world.touch(5), Signal)
    assert len(lost) == 1, "told once of an enclave"
    if spoil is not cut:
        assert world.touch(9) == Resolved()
    with refused(errno.EFAULT, "is lost"):
        call(world, RESTRICT, 5, 1, permissions=1)
    assert_sound(world.driver)


def test_an_old_eviction_is_not_taken_for_the_last() -> None:
    world = Paged()
    world.ready(20)
    evict(world.driver, world.encl, 5)
    old = bytes(world.memory.store.bytes)
    world.touch(5)
    evict(world.driver, world.encl, 5)
    world.memory.store.bytes[:] = old
    assert isinstance(world.touch(5), Signal)


def test_without_room_for_what_goes_out_nothing_does() -> None:
    world = Paged()
    world.create()
    world.driver.backing(world.encl)
    world.memory.store.full = True
    with refused(errno.ENOMEM):
        world.fill(60)
    assert world.encl.evicted == 0
    assert_sound(world.driver)


def test_a_process_whose_pages_cannot_be_taken_keeps_them() -> None:
    world = Paged()
    world.create()
    world.map(0, 100, RW)
    world.tables.can_evict = False
    with refused(errno.ENOMEM):
        world.fill(60)
    assert world.encl.evicted == 0
    assert_sound(world.driver)


def test_a_fault_that_finds_no_room_is_a_bus_error() -> None:
    world = Paged()
    world.ready(36)
    evict(world.driver, world.encl, 5)
    world.tables.can_evict = False
    while world.driver.section.free:
        world.driver.section.alloc()
    assert isinstance(world.touch(5), Signal)


def test_what_came_back_lately_is_let_be_once() -> None:
    world = Paged(pages=120)
    world.ready(60)
    evict(world.driver, world.encl, 1, 2, 3)
    for index in (1, 2, 3):
        world.touch(index)
    world.driver.make_room(world.driver.section.free + 1)
    assert world.encl.evicted == CLUSTER
    assert world.out().isdisjoint({1, 2, 3})
    world.driver.make_room(118)
    assert {1, 2, 3} <= world.out()
