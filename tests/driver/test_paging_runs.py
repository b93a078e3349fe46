"""Pages that come back together, and what becomes of those that cannot."""

import errno

import pytest

from softsgx.driver.fault import Resolved, Signal
from softsgx.driver.paging.pages import load_page, write_out
from softsgx.driver.protocols import NotYetError
from tests.driver.fakes import BASE, PAGE, swap
from tests.driver.invariants import assert_sound
from tests.driver.paged import Paged, evict
from tests.driver.test_edmm import RESTRICT, call

ROOMY = 1024
"""EPC pages of which up to 32 may come back together."""


def all_out(pages: int = 200) -> Paged:
    world = Paged(pages=ROOMY)
    world.ready(pages)
    assert evict(world.driver, world.encl, *range(1, pages + 1)) == pages
    return world


def came(world: Paged, index: int) -> list[int]:
    """Touch a page; return those that it brought back."""
    before = world.out()
    assert world.touch(index) == Resolved()
    assert_sound(world.driver)
    return sorted(before - world.out())


def test_who_goes_up_finds_ever_more_there() -> None:
    world = all_out()
    assert came(world, 50) == [50]
    assert came(world, 51) == [51, 52]
    assert came(world, 53) == [*range(53, 59)]
    assert came(world, 59) == [*range(59, 77)]
    assert came(world, 77) == [*range(77, 109)]
    assert world.content(108) == 108


def test_so_does_who_goes_down() -> None:
    world = all_out()
    assert came(world, 150) == [150]
    assert came(world, 149) == [148, 149]
    assert came(world, 147) == [*range(142, 148)]
    assert world.content(142) == 142


def test_who_leaps_about_finds_only_what_was_asked_for() -> None:
    world = all_out()
    for index in (10, 100, 30, 180, 60):
        assert came(world, index) == [index]


def test_the_first_and_the_last_page_have_nobody_beyond() -> None:
    world = all_out(255)
    assert came(world, 254) == [254]
    assert came(world, 255) == [255]
    assert evict(world.driver, world.encl, 0) == 1
    assert came(world, 0) == [0]
    assert came(world, 1) == [1, 2]


def test_no_more_come_than_a_part_of_a_small_epc() -> None:
    world = Paged(pages=120)
    world.ready(60)
    evict(world.driver, world.encl, *range(20, 61))
    assert came(world, 20) == [*range(20, 27)]


def test_a_neighbour_that_was_spoilt_is_told_of_when_it_is_touched() -> None:
    world = all_out()
    lost: list[str] = []
    swap(world.driver.gate, "lost", lambda _, why: lost.append(why))
    world.memory.store.bytes[53 * PAGE] ^= 1
    for index in (50, 51, 52):
        assert world.touch(index) == Resolved()
    assert 53 in world.out()
    assert not lost
    assert isinstance(world.touch(53), Signal)
    assert len(lost) == 1
    assert world.touch(54) == Resolved()
    assert_sound(world.driver)


def test_a_page_without_memory_to_come_to_stays_out() -> None:
    world = all_out(20)

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOMEM, "no memory")

    swap(world.memory, "put", refuse)
    assert isinstance(world.touch(5), Signal)
    assert 5 in world.out()
    assert_sound(world.driver)


# ---- a file that takes long ----


def test_a_page_that_takes_long_changes_nothing_until_it_is_here() -> None:
    world = all_out(20)
    before = world.machine.snapshot(), world.out(), world.driver.section.free
    world.memory.store.waits = 1
    with pytest.raises(NotYetError) as wait:
        world.touch(5)
    assert (world.machine.snapshot(), world.out(), world.driver.section.free) == before
    wait.value.fetch()
    assert world.touch(5) == Resolved()


def test_so_does_the_secs() -> None:
    world = Paged()
    world.ready(3)
    assert evict(world.driver, world.encl, 0, 1, 2, 3) == 4
    free = world.driver.section.free
    world.memory.store.waits = 1
    with pytest.raises(NotYetError) as wait:
        world.driver.secs(world.encl)
    assert world.driver.section.free == free
    wait.value.fetch()
    assert world.driver.secs(world.encl).baseaddr == BASE


def test_an_ioctl_waits_and_goes_on_where_it_was() -> None:
    world = all_out(20)
    load_page(world.driver, world.encl, 1)
    world.memory.store.waits = 7
    call(world, RESTRICT, 1, 20, permissions=1)
    assert world.memory.store.waits == 0
    world.driver.drain()
    assert all(world.encl.word(BASE + n * PAGE) & 7 == 1 for n in range(1, 21))


def test_who_only_looks_does_not_wait() -> None:
    world = all_out(20)
    world.memory.store.waits = 1
    assert world.driver.at_hand(world.encl, BASE + 5 * PAGE) is None
    assert world.memory.store.waits == 1
    world.memory.store.waits = 0
    assert world.driver.at_hand(world.encl, BASE + 5 * PAGE) is not None


def test_a_full_file_is_told_of_once_until_it_takes_pages_again() -> None:
    world = Paged()
    world.ready(20)
    told: list[str] = []
    swap(world.driver.gate, "stuck", lambda _, why: told.append(why))
    world.driver.backing(world.encl)
    for full, gone in ((True, 0), (True, 0), (False, 1), (True, 0)):
        world.memory.store.full = full
        assert write_out(world.driver, world.encl, [(5, 1)]) == gone
        load_page(world.driver, world.encl, 5)
    assert told == ["full", "full"]
