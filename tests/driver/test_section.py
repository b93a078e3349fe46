import errno

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softsgx.driver.epc.section import Section
from tests.driver.fakes import refused


def test_pages_come_lowest_first_in_one_run() -> None:
    section = Section([(0, 10)], 10)
    assert section.alloc_run(4) == [(0, 4)]
    assert section.alloc() == 4
    assert section.free == 5


def test_a_request_is_met_from_several_runs() -> None:
    section = Section([(0, 10)], 10)
    section.alloc_run(10)
    section.give(1)
    section.give(5, 2)
    assert section.alloc_run(3) == [(1, 1), (5, 2)]
    assert section.free == 0


def test_what_does_not_fit_takes_nothing() -> None:
    section = Section([(0, 4)], 4)
    with refused(errno.ENOMEM, "5 EPC pages asked, 4 free"):
        section.alloc_run(5)
    assert section.alloc_run(4) == [(0, 4)]
    with refused(errno.ENOMEM):
        section.alloc()


def test_nothing_asked_is_nothing_given() -> None:
    section = Section([(0, 4)], 4)
    assert section.alloc_run(0) == []
    assert Section([(0, 0)], 0).alloc_run(0) == []


@settings(deadline=None)
@given(st.permutations(range(40)))
def test_runs_join_again_whatever_the_order(order: list[int]) -> None:
    section = Section([(0, 40)], 40)
    section.alloc_run(40)
    for page in order:
        section.give(page)
    assert section.alloc_run(40) == [(0, 40)]


@pytest.mark.parametrize("run", [(0, 1), (3, 1), (2, 3), (0, 3), (2, 1)])
def test_a_page_given_twice_is_our_bug(run: tuple[int, int]) -> None:
    section = Section([(0, 8)], 8)
    section.alloc_run(8)
    section.give(0)
    section.give(2, 2)
    with pytest.raises(AssertionError, match="is free already"):
        section.give(*run)


def test_overcommitted_counts_pages_beyond_the_reported_size() -> None:
    section = Section([(0, 10)], 4)
    section.alloc_run(3)
    assert section.overcommitted == 0
    section.alloc_run(3)
    assert section.overcommitted == 2


def test_a_section_of_several_places_counts_through_them() -> None:
    section = Section([(50, 4), (10, 0), (20, 6)], 10)
    assert (section.pages, section.free) == (10, 10)
    assert section.place(0, 99) == (20, 6)
    assert section.place(5, 3) == (25, 1)
    assert section.place(6, 3) == (50, 3)
    assert section.place(9, 3) == (53, 1)
    assert section.alloc_run(8) == [(20, 6), (50, 2)]
    section.give(22)
    assert section.alloc_run(3) == [(22, 1), (52, 2)]
