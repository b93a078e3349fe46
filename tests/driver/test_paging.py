"""Pages that leave the EPC when it is full, and come back when they are needed."""

import errno
from collections.abc import Callable

import pytest

from softsgx.arch.addr import PAGE_SHIFT
from softsgx.arch.faults import PageFault
from softsgx.driver.access import access
from softsgx.driver.driver import Driver
from softsgx.driver.encl import Encl
from softsgx.driver.fault import Resolved, Signal
from softsgx.driver.paging import load_page, write_out
from softsgx.driver.reclaim import NR_TO_SCAN
from softsgx.driver.user_linear import UserLinear
from softsgx.machine.fields import TCS_STAGE
from softsgx.machine.model import Model
from tests.driver.fakes import (
    BASE,
    PAGE,
    RW,
    TCS,
    FakeMemory,
    World,
    refused,
    swap,
    tcs_bytes,
)
from tests.driver.invariants import assert_sound
from tests.driver.test_edmm import MODIFY, REMOVE, RESTRICT, call

READ, WRITE = 4, 6
EPC = 40
"""Pages: one for each of SECS, TCS and a version array, and 37 for others."""


class FakeTables:
    """A process's page tables, which remember what was asked of them."""

    def __init__(self, memory: FakeMemory) -> None:
        self.can_evict = True
        self.memory = memory
        self.protected: set[int] = set()
        self.seen: list[tuple[str, list[tuple[int, int]]]] = []

    def protect(self, encl: Encl, runs: list[tuple[int, int]]) -> None:
        del encl
        self.seen.append(("protect", runs))
        for first, count in runs:
            for index in range(first, first + count):
                assert self.memory.words[index] == 0, "agents were not told before"
                self.protected.add(index)

    def changed(self) -> None:
        pass

    def close(self) -> None:
        pass

    def unprotect(self, encl: Encl, runs: list[tuple[int, int]]) -> None:
        del encl
        self.seen.append(("unprotect", runs))
        for first, count in runs:
            self.protected -= set(range(first, first + count))


class Paged(World):
    """A small EPC, and a process that maps the enclave."""

    def __init__(self, pages: int = EPC, model: Model | None = None) -> None:
        super().__init__(model, pages)
        self.driver = Driver(self.machine, pages=True)
        self.encl = self.driver.open(self.memory)
        self.tables = FakeTables(self.memory)
        self.mm.tables = self.tables

    def fill(self, count: int, *, first: int = 1) -> None:
        data = b"".join(bytes([index % 251 + 1]) * PAGE for index in range(count))
        for at in range(0, count, 16):
            part = data[at * PAGE : (at + 16) * PAGE]
            self.add(first + at, len(part) // PAGE, data=part)
        self.driver.drain()

    def ready(self, count: int) -> None:
        """An initialized enclave, mapped, with a TCS and *count* pages."""
        self.create()
        self.add(0, 1, TCS, tcs_bytes())
        self.fill(count)
        self.init()
        self.map(0, count + 1, RW)
        self.driver.drain()

    def touch(self, index: int, code: int = READ) -> object:
        at = BASE + index * PAGE
        outcome = self.driver.fault(self.mm, at, code, from_enclave=True)
        self.driver.drain()
        return outcome

    def content(self, index: int) -> int:
        """Return the one byte that all of a page is."""
        (value,) = set(self.memory.bytes[index * PAGE :][:PAGE])
        return value

    def out(self) -> set[int]:
        pages = range(self.encl.size >> PAGE_SHIFT)
        found = {index: self.encl.page(BASE + index * PAGE) for index in pages}
        return {index for index, page in found.items() if page and page.evicted}


def test_an_enclave_larger_than_the_epc_has_all_its_pages() -> None:
    world = Paged()
    world.ready(100)
    assert world.encl.evicted == len(world.out()) >= 100 - EPC
    assert_sound(world.driver)
    for index in [*range(1, 101), *range(100, 0, -1)]:
        assert world.touch(index) == Resolved()
        assert world.content(index) == (index - 1) % 251 + 1
        assert world.memory.words[index] == world.encl.word(BASE + index * PAGE) != 0
        assert_sound(world.driver)


def test_what_the_enclave_wrote_comes_back() -> None:
    world = Paged()
    world.ready(100)
    for index in range(1, 101):
        assert world.touch(index, WRITE) == Resolved()
        world.encl.view[index * PAGE : (index + 1) * PAGE] = bytes([index + 9]) * PAGE
    for index in range(1, 101):
        assert world.touch(index) == Resolved()
        assert world.content(index) == index + 9


def test_a_page_that_is_out_is_nowhere_in_clear() -> None:
    world = Paged()
    world.ready(100)
    for index in world.out():
        assert world.content(index) == 0
        assert world.memory.words[index] == 0
        assert bytes([(index - 1) % 251 + 1]) * 64 not in world.memory.store.bytes


def test_agents_hear_of_it_before_the_page_tables_and_those_before_the_bytes_go() -> (
    None
):
    world = Paged()
    world.ready(20)
    world.tables.seen.clear()
    assert write_out(world.driver, world.encl, [3, 4, 5, 9]) == 4
    runs = [(3, 3), (9, 1)]
    assert world.tables.seen == [("protect", runs), ("unprotect", runs)]
    assert not world.tables.protected
    assert world.out() == {3, 4, 5, 9}


def test_the_tcs_of_a_thread_inside_stays_and_the_area_that_its_exit_fills() -> None:
    world = Paged()
    world.ready(20)
    page = world.encl.page(BASE)
    assert page is not None
    TCS_STAGE.write(world.machine.epc.page(page.epc_page), 1)
    word = world.encl.word(BASE)
    # Its state save area is page 1.
    assert write_out(world.driver, world.encl, [0, 1, 2]) == 1
    assert world.out() == {2}
    assert world.memory.words[0] == word
    TCS_STAGE.write(world.machine.epc.page(page.epc_page), 0)
    assert write_out(world.driver, world.encl, [0, 1]) == 2


def test_with_a_thread_inside_pages_go_after_an_interrupt() -> None:
    world = Paged()
    world.ready(20)
    state = world.machine.enclaves[world.encl.secs]
    state.enter(7)
    assert write_out(world.driver, world.encl, [1, 2, 3]) == 3
    assert state.inside == {7: state.epoch}


def test_the_secs_goes_last_and_comes_first() -> None:
    world = Paged()
    world.ready(3)
    before = world.machine.enclaves[world.encl.secs].secs
    assert write_out(world.driver, world.encl, [0, 1, 2, 3]) == 4
    assert not world.machine.enclaves
    assert not world.driver.by_secs
    assert world.touch(2) == Resolved()
    assert world.driver.by_secs == {world.encl.secs: world.encl}
    assert world.machine.enclaves[world.encl.secs].secs == before
    assert_sound(world.driver)


def test_the_secs_of_an_enclave_that_is_being_built_stays() -> None:
    world = Paged()
    world.create()
    world.fill(3)
    assert write_out(world.driver, world.encl, [1, 2, 3]) == 3
    assert world.encl.secs_slot is None
    world.fill(3, first=10)
    assert_sound(world.driver)


def test_two_enclaves_share_an_epc_that_holds_neither() -> None:
    world = Paged()
    world.ready(60)
    first, memory = world.encl, world.memory
    other = World()
    other.driver, other.machine = world.driver, world.machine
    other.memory = FakeMemory()
    other.encl = world.driver.open(other.memory)
    other.mm.tables = FakeTables(other.memory)
    other.create()
    other.add(0, 60, data=b"\xaa" * 60 * PAGE)
    assert_sound(world.driver)
    for index in range(1, 61):
        assert world.touch(index) == Resolved()
        assert memory.bytes[index * PAGE] == (index - 1) % 251 + 1
        load_page(other.driver, other.encl, index - 1)
        assert other.memory.bytes[(index - 1) * PAGE] == 0xAA
    assert_sound(world.driver)
    assert first.evicted
    assert other.encl.evicted


def test_after_the_end_the_epc_is_empty() -> None:
    world = Paged()
    world.ready(100)
    write_out(world.driver, world.encl, [0])
    world.driver.mm_gone(world.mm)
    world.driver.release(world.encl)
    assert world.driver.section.free == EPC
    assert not world.machine.epcm.contents()
    assert not world.driver.by_secs


def test_an_enclave_that_is_all_out_ends_too() -> None:
    world = Paged()
    world.ready(3)
    assert write_out(world.driver, world.encl, [0, 1, 2, 3]) == 4
    world.driver.release(world.encl)
    assert world.driver.section.free == EPC


# ---- who needs a page that is out ----


def test_the_ioctls_bring_it_back() -> None:
    world = Paged()
    world.ready(60)
    assert write_out(world.driver, world.encl, list(range(1, 38)))
    call(world, RESTRICT, 1, 60, permissions=1)
    world.driver.drain()
    assert all(world.encl.word(BASE + n * PAGE) & 7 == 1 for n in range(1, 61))
    call(world, MODIFY, 1, 60)
    for index in range(1, 61):
        load_page(world.driver, world.encl, index)
        world.accept(index)
        world.driver.drain()
    call(world, REMOVE, 1, 60)
    load_page(world.driver, world.encl, 0)
    assert world.driver.section.free == EPC - 3
    assert world.encl.evicted == 0
    assert_sound(world.driver)


def test_a_leaf_brings_its_operands_back() -> None:
    world = Paged()
    world.ready(20)
    write_out(world.driver, world.encl, [5])
    memory = UserLinear(world.mm, world.task, world.machine)
    with pytest.raises(PageFault) as caught:
        memory.page(BASE + 5 * PAGE)
    at, code = caught.value.address, caught.value.error_code
    assert world.driver.fault(world.mm, at, code, from_enclave=True) == Resolved()
    assert memory.load(BASE + 5 * PAGE, 4) == b"\5\5\5\5"


def test_a_debugger_brings_it_back() -> None:
    world = Paged()
    world.create(flags=2)
    world.fill(5)
    world.init()
    world.map(0, 6, RW)
    write_out(world.driver, world.encl, [3])
    (vma,) = world.mm.vmas
    assert access(world.driver, vma, BASE + 3 * PAGE + 1, 3) == b"\3\3\3"


def test_a_mapping_made_meanwhile_has_it_at_the_first_access() -> None:
    world = Paged()
    world.ready(20)
    write_out(world.driver, world.encl, [5])
    start = BASE + 5 * PAGE
    assert [e.prot for e in world.driver.effective(world.mm, start, start + PAGE)] == [
        0
    ]
    world.touch(5)
    (extent,) = world.driver.effective(world.mm, start, start + PAGE)
    assert extent.prot == RW


# ---- who cannot have it ----


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
    write_out(world.driver, world.encl, [5, 6, 9])
    spoil(world, 5)
    outcome = world.touch(5)
    assert isinstance(outcome, Signal)
    assert (outcome.signo, outcome.si_code) == (7, 2)
    (why,) = lost
    assert why == "ELDU: SGX_MAC_COMPARE_FAIL" or spoil is cut
    if spoil is not cut:
        assert world.touch(9) == Resolved()
    with refused(errno.EFAULT, "is lost"):
        call(world, RESTRICT, 5, 1, permissions=1)
    assert_sound(world.driver)


def test_an_old_eviction_is_not_taken_for_the_last() -> None:
    world = Paged()
    world.ready(20)
    write_out(world.driver, world.encl, [5])
    old = bytes(world.memory.store.bytes)
    world.touch(5)
    write_out(world.driver, world.encl, [5])
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
    write_out(world.driver, world.encl, [5])
    world.tables.can_evict = False
    while world.driver.section.free:
        world.driver.section.alloc()
    assert isinstance(world.touch(5), Signal)


def test_what_came_back_lately_is_let_be_once() -> None:
    world = Paged(pages=120)
    world.ready(60)
    write_out(world.driver, world.encl, [1, 2, 3])
    for index in (1, 2, 3):
        world.touch(index)
    world.driver.make_room(world.driver.section.free + 1)
    assert world.encl.evicted == NR_TO_SCAN
    assert world.out().isdisjoint({1, 2, 3})
    world.driver.make_room(118)
    assert {1, 2, 3} <= world.out()
