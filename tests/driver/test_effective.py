"""What the CPU may do natively in an enclave's mappings."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softsgx.arch.secinfo import PageType, SecinfoFlags
from softsgx.driver import uapi
from softsgx.driver.encl import Encl
from softsgx.driver.fault import Resolved
from softsgx.driver.mapping import granted
from tests.driver.fakes import BASE, PAGE, RW, RWX, SIZE, World
from tests.driver.test_edmm import MODIFY, RESTRICT, call
from tests.driver.test_mapping import at, built

R, W, X = 1, 2, 4
SHARED = uapi.MAP_SHARED


def effective(world: World, first: int = 0, last: int = 16) -> list[tuple[int, ...]]:
    extents = world.driver.effective(world.mm, at(first), at(last))
    assert all(isinstance(extent.encl, Encl) for extent in extents)
    return [((e.start - BASE) // PAGE, (e.end - BASE) // PAGE, e.prot) for e in extents]


def test_effective_is_what_is_asked_and_granted() -> None:
    world = built()
    world.map(0, 3, RW)
    world.map(3, 3, R | X)
    assert effective(world) == [(0, 1, 0), (1, 3, RW), (3, 6, R | X)]
    assert effective(world, 2, 4) == [(2, 3, RW), (3, 4, R | X)]


def test_effective_is_nothing_where_nothing_is() -> None:
    world = built()
    world.map(5, 3, R)
    assert effective(world) == [(5, 6, R), (6, 8, 0)]


def test_effective_follows_the_epcm() -> None:
    world = built()
    world.map(1, 2, RW)
    call(world, RESTRICT, 1, 1)
    assert effective(world) == [(1, 2, R), (2, 3, RW)]
    call(world, MODIFY, 2, 1)
    assert effective(world) == [(1, 2, R), (2, 3, 0)]
    world.accept(2)
    assert effective(world) == [(1, 2, R), (2, 3, 0)]


@pytest.mark.parametrize(
    ("word", "rights"),
    [
        (0x247, RWX),
        (0x265, R | X),
        (0x207, 0),
        (0x147, 0),
        (0x447, 0),
        (0x24F, 0),
        (0x257, 0),
        (0x2C7, 0),
        (0, 0),
    ],
)
def test_an_epcm_word_grants_what_it_says_of_a_usable_page(
    word: int, rights: int
) -> None:
    assert granted(word) == rights


def test_a_pending_page_is_not_accessible() -> None:
    world = built()
    world.map(6, 1, RWX)
    world.driver.fault(world.mm, at(6), 4, from_enclave=True)
    assert effective(world) == [(6, 7, 0)]
    world.accept(6)
    assert effective(world) == [(6, 7, RW)]


def test_a_mapping_that_asks_more_than_the_cap_gets_nothing() -> None:
    world = World()
    world.create()
    world.map(1, 2, RWX)
    world.add(1, 1, SecinfoFlags.of(PageType.REG, RWX))
    world.add(2, 1)
    world.init()
    assert effective(world) == [(1, 2, RWX), (2, 3, 0)]


@pytest.mark.parametrize(
    ("asked", "left", "native"),
    [(W, RW, RW), (W, R, R), (X, RWX, X), (X, R, R), (W | X, R | X, R | X), (0, R, 0)],
)
def test_the_cpu_cannot_write_or_execute_without_reading(
    asked: int, left: int, native: int
) -> None:
    world = World()
    world.build(2, SecinfoFlags.of(PageType.REG, RWX))
    world.map(1, 1, asked)
    call(world, RESTRICT, 1, 1, permissions=left)
    assert effective(world) == [(1, 2, native)]


def natively(prot: int, needed: int) -> bool:
    return bool(prot) if needed == R else bool(prot & needed)


@pytest.mark.parametrize("asked", range(8))
@pytest.mark.parametrize("left", [0, R, RW, R | X, X, RWX])
@pytest.mark.parametrize(("code", "needed"), [(0x4, R), (0x6, W), (0x14, X)])
def test_what_is_resolved_can_be_done_so_nothing_faults_for_ever(
    asked: int, left: int, code: int, needed: int
) -> None:
    world = World()
    world.build(2, SecinfoFlags.of(PageType.REG, RWX))
    world.map(1, 1, asked)
    call(world, RESTRICT, 1, 1, permissions=left)
    outcome = world.driver.fault(world.mm, at(1), code, from_enclave=True)
    if outcome == Resolved():
        assert natively(effective(world)[0][2], needed)


def test_addresses_outside_the_enclave_are_inaccessible() -> None:
    world = World()
    world.create()
    world.driver.mmap(world.mm, world.encl, BASE - PAGE, SIZE + 2 * PAGE, R, SHARED)
    world.add(0, 1)
    world.add(SIZE // PAGE - 1, 1)
    last = SIZE // PAGE
    assert effective(world, -1, last + 1) == [
        (-1, 0, 0), (0, 1, R), (1, last - 1, 0),
        (last - 1, last, R), (last, last + 1, 0),
    ]  # fmt: skip


def test_neighbouring_mappings_merge_when_alike() -> None:
    world = built()
    world.map(1, 1, RW)
    world.map(2, 1, RW)
    assert effective(world) == [(1, 3, RW)]


def test_nothing_is_merged_over_a_gap() -> None:
    world = built()
    world.map(1, 1, R)
    world.map(3, 1, R)
    assert effective(world) == [(1, 2, R), (3, 4, R)]


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(1, 9), st.sampled_from([0, R, RW])),
        max_size=8,
    ),
    st.lists(st.tuples(st.integers(1, 5), st.sampled_from([RESTRICT, MODIFY]))),
)
def test_one_page_at_a_time_tells_the_same(
    maps: list[tuple[int, int, int]], changes: list[tuple[int, int]]
) -> None:
    world = World()
    world.create()
    for index, count, prot in maps:
        world.map(index, count, prot)
    for index, prot in ((1, RW), (2, RW), (3, R | X), (4, R), (5, RWX)):
        world.add(index, 1, SecinfoFlags.of(PageType.REG, prot))
    world.init()
    for index, cmd in changes:
        with suppress(OSError):
            call(world, cmd, index, 1)
    alone = [
        one[0] for index in range(20) if (one := effective(world, index, index + 1))
    ]
    together = [
        (index, index + 1, prot)
        for first, last, prot in effective(world, 0, 20)
        for index in range(first, last)
    ]
    assert alone == together
