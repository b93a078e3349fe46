"""Pages that leave the EPC when it is full, and come back when they are needed."""

import pytest

from softsgx.arch.faults import PageFault
from softsgx.driver.access import access
from softsgx.driver.fault import Resolved
from softsgx.driver.paging.pages import load_page
from softsgx.driver.user_linear import UserLinear
from softsgx.encls.swap import In
from softsgx.machine.fields import TCS_STAGE
from tests.driver.fakes import (
    BASE,
    PAGE,
    RW,
    FakeMemory,
    World,
)
from tests.driver.invariants import assert_sound
from tests.driver.paged import EPC, WRITE, FakeTables, Paged, evict
from tests.driver.test_edmm import MODIFY, REMOVE, RESTRICT, call


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
    assert evict(world.driver, world.encl, 3, 4, 5, 9) == 4
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
    assert evict(world.driver, world.encl, 0, 1, 2) == 1
    assert world.out() == {2}
    assert world.memory.words[0] == word
    TCS_STAGE.write(world.machine.epc.page(page.epc_page), 0)
    assert evict(world.driver, world.encl, 0, 1) == 2


def test_with_a_thread_inside_pages_go_after_an_interrupt() -> None:
    world = Paged()
    world.ready(20)
    state = world.machine.enclaves[world.encl.secs]
    state.enter(7)
    assert evict(world.driver, world.encl, 1, 2, 3) == 3
    assert state.inside == {7: state.epoch}


def test_where_the_page_tables_refuse_pages_stay_as_they_are() -> None:
    world = Paged()
    world.ready(20)
    world.tables.refuses = True
    before = dict(world.memory.words)
    assert evict(world.driver, world.encl, 1, 2) == 0
    assert world.memory.words == before
    assert_sound(world.driver)


def test_the_secs_goes_last_and_comes_first() -> None:
    world = Paged()
    world.ready(3)
    before = world.machine.enclaves[world.encl.secs].secs
    assert evict(world.driver, world.encl, 0, 1, 2, 3) == 4
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
    assert evict(world.driver, world.encl, 1, 2, 3) == 3
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
    evict(world.driver, world.encl, 0)
    world.driver.mm_gone(world.mm)
    world.driver.release(world.encl)
    assert world.driver.section.free == EPC
    assert not world.machine.epcm.contents()
    assert not world.driver.by_secs


def test_an_enclave_that_is_all_out_ends_too() -> None:
    world = Paged()
    world.ready(3)
    assert evict(world.driver, world.encl, 0, 1, 2, 3) == 4
    world.driver.release(world.encl)
    assert world.driver.section.free == EPC


# ---- who needs a page that is out ----


def test_the_ioctls_bring_it_back() -> None:
    world = Paged()
    world.ready(60)
    assert evict(world.driver, world.encl, *range(1, 38))
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


def test_the_ioctls_bring_many_back_together(monkeypatch: pytest.MonkeyPatch) -> None:
    world = Paged(pages=512)
    world.ready(80)
    assert evict(world.driver, world.encl, *range(1, 41), *range(42, 81))
    sizes: list[int] = []
    load = world.driver.kernel.eldu_run

    def noting(loads: list[In]) -> list[bytes]:
        sizes.append(len(loads))
        return load(loads)

    monkeypatch.setattr(world.driver.kernel, "eldu_run", noting)
    call(world, MODIFY, 1, 78)
    assert sizes == [32, 8, 32, 5]
    assert world.out() == {79, 80}


def test_a_leaf_brings_its_operands_back() -> None:
    world = Paged()
    world.ready(20)
    evict(world.driver, world.encl, 5)
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
    evict(world.driver, world.encl, 3)
    (vma,) = world.mm.vmas
    assert access(world.driver, vma, BASE + 3 * PAGE + 1, 3) == b"\3\3\3"


@pytest.mark.parametrize("pages", [1, 4])
def test_a_page_that_is_out_keeps_its_protection_where_it_is_watched(
    pages: int,
) -> None:
    world = Paged()
    world.ready(20)
    evict(world.driver, world.encl, 5)
    start, end = BASE + 5 * PAGE, BASE + (5 + pages) * PAGE
    (extent,) = world.driver.effective(world.mm, start, end)
    assert (extent.start, extent.end, extent.prot) == (start, end, RW)
    world.tables.changing = True
    out, *rest = world.driver.effective(world.mm, start, end)
    assert (out.start, out.end, out.prot) == (start, start + PAGE, 0)
    assert [extent.prot for extent in rest] == [RW] * (pages > 1)
    world.touch(5)
    (extent,) = world.driver.effective(world.mm, start, end)
    assert extent.prot == RW
