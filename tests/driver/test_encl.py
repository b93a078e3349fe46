from array import array

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softsgx.arch.secinfo import PageType
from softsgx.driver.encl import Encl, EnclPage
from tests.driver.fakes import BASE, PAGE, FakeMemory, swap

REG = int(PageType.REG)


def encl(size: int = 1 << 40) -> Encl:
    made = Encl(FakeMemory())
    made.base, made.size, made.created = BASE, size, True
    return made


def test_a_page_is_found_by_any_address_in_it() -> None:
    one = encl()
    one.set_run(3, 2, EnclPage(100, REG, 5))
    assert one.page(BASE + 4 * PAGE + 17) == EnclPage(101, REG, 5)
    assert one.page(BASE + 5 * PAGE) is None
    assert one.page(BASE - 1) is None
    assert one.page(BASE + one.size) is None


def test_page_zero_of_the_epc_is_a_page() -> None:
    one = encl()
    one.set_run(0, 1, EnclPage(0, REG, 0))
    assert one.page(BASE) == EnclPage(0, REG, 0)


def test_stretches_break_at_type_cap_word_and_epc() -> None:
    one = encl()
    one.set_run(1, 2, EnclPage(10, REG, 3))
    one.set_run(3, 2, EnclPage(12, REG, 1))
    one.set_run(5, 2, EnclPage(14, int(PageType.TRIM), 1))
    one.set_run(7, 2, EnclPage(50, int(PageType.TRIM), 1))
    one.words.fill(1, 1, (0x243,), (0,))
    found = [(s.index, s.count, s.page.epc_page) for s in one.stretches(0, 12)]
    assert found == [
        (0, 1, 0), (1, 1, 10), (2, 1, 11), (3, 2, 12), (5, 2, 14), (7, 2, 50),
        (9, 3, 0),
    ]  # fmt: skip


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 40_000), st.integers(1, 30), st.integers(0, 99)),
        max_size=20,
    )
)
def test_pages_in_use_are_all_pages_and_no_more(
    runs: list[tuple[int, int, int]],
) -> None:
    one, expected = encl(), dict[int, int]()
    for index, count, epc_page in runs:
        one.set_run(index, count, EnclPage(epc_page, REG, 3))
        expected |= {index + at: epc_page + at for at in range(count)}
    found = {
        stretch.index + at: stretch.page.epc_page + at
        for stretch in one.pages_in_use()
        for at in range(stretch.count)
    }
    assert found == expected


def test_a_huge_empty_range_is_quick_and_absent() -> None:
    stretches = list(encl().stretches(0, (1 << 40) // PAGE))
    assert {stretch.page.type for stretch in stretches} == {int(PageType.SECS)}
    assert sum(stretch.count for stretch in stretches) == (1 << 40) // PAGE


def test_a_page_here_and_there_cuts_a_huge_range_and_no_more() -> None:
    one = encl()
    far = (1 << 46) // PAGE
    for index in (5, far - 1):
        one.set_run(index, 1, EnclPage(1, REG, 3))
    stretches = list(one.stretches(0, far))
    assert sum(stretch.count for stretch in stretches) == far
    assert len(stretches) < 8
    assert [s.index for s in stretches if s.page.type == REG] == [5, far - 1]


@pytest.mark.parametrize(
    ("have", "more", "needed"),
    [(0, 1, 1), (1, 511, 0), (1, 512, 1), (512, 1, 1), (511, 1, 0), (0, 1024, 2)],
)
def test_one_va_page_for_512_pages(have: int, more: int, needed: int) -> None:
    one = encl()
    one.page_cnt = have
    assert one.va_needed(more) == needed


@settings(deadline=None)
@given(st.integers(0, 2000), st.integers(0, 3000), st.integers(0, 3000))
def test_fitting_is_the_most_that_fits(have: int, count: int, free: int) -> None:
    one = encl()
    one.page_cnt = have
    fits = one.fitting(count, free)
    assert fits + one.va_needed(fits) <= free or fits == 0
    if fits < count:
        assert fits + 1 + one.va_needed(fits + 1) > free


def test_absent_run_stops_at_the_first_page() -> None:
    one = encl()
    one.set_run(7, 1, EnclPage(1, REG, 0))
    assert one.absent_run(3, 10) == 4
    assert one.absent_run(7, 10) == 0
    assert one.absent_run(8, 10) == 10


def test_caps_are_of_existing_pages_only() -> None:
    one = encl()
    one.set_run(1, 1, EnclPage(1, REG, 5))
    one.set_run(3, 1, EnclPage(2, REG, 0))
    assert one.caps(BASE, BASE + 3 * PAGE) == {5}
    assert one.caps(BASE, BASE + 4 * PAGE) == {5, 0}
    assert one.caps(BASE - PAGE, BASE) == set()


@settings(deadline=None)
@given(
    st.dictionaries(st.integers(0, 4000), st.integers(0, 7), max_size=12),
    st.integers(0, 4000),
    st.integers(1, 4000),
)
def test_caps_are_those_of_all_pages_in_the_range(
    caps: dict[int, int], first: int, count: int
) -> None:
    one = encl()
    for index, cap in caps.items():
        one.set_run(index, 1, EnclPage(index, REG, cap))
    expected = {cap for at, cap in caps.items() if first <= at < first + count}
    assert one.caps(BASE + first * PAGE, BASE + (first + count) * PAGE) == expected


def test_caps_of_a_huge_range_are_found_where_pages_are() -> None:
    one, asked = encl(), list[int]()
    one.set_run(5, 1, EnclPage(1, REG, 1))
    one.set_run((1 << 40) // PAGE - 1, 1, EnclPage(2, REG, 3))
    pages = one._pages
    column = pages.column

    def counted(which: int, first: int, count: int) -> "array[int]":
        asked.append(count)
        return column(which, first, count)

    swap(pages, "column", counted)
    assert one.caps(BASE, one.end) == {1, 3}
    assert sum(asked) <= 2 * 512
