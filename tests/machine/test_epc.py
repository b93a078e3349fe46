import pytest
from hypothesis import given
from hypothesis import strategies as st

from softsgx.arch.addr import PAGE_SIZE
from softsgx.machine.epc import Epc

PAGES = 16


def page_of(number: int) -> bytes:
    return bytes([number]) * PAGE_SIZE


def test_a_page_is_zero_and_writable() -> None:
    epc = Epc(PAGES)
    assert bytes(epc.page(3)) == bytes(PAGE_SIZE)
    epc.page(3)[0] = 7
    assert epc.page(3)[0] == 7


def test_a_placed_page_lives_in_its_memory() -> None:
    epc, memory = Epc(PAGES), bytearray(4 * PAGE_SIZE)
    epc.place(5, 2, memoryview(memory), PAGE_SIZE)
    epc.page(6)[:] = page_of(9)
    assert memory[2 * PAGE_SIZE : 3 * PAGE_SIZE] == page_of(9)
    assert epc.page(4)[0] == epc.page(7)[0] == 0


def test_unplacing_gives_zeros_and_leaves_the_memory() -> None:
    epc, memory = Epc(PAGES), bytearray(page_of(7) * 3)
    epc.place(5, 3, memoryview(memory), 0)
    epc.unplace(6, 1)
    assert [epc.page(n)[0] for n in (5, 6, 7)] == [7, 0, 7]
    epc.page(6)[:] = page_of(1)
    assert memory == page_of(7) * 3


def test_pages_placed_one_by_one_lie_where_each_was_placed() -> None:
    epc = Epc(16)
    one, two = (memoryview(bytearray(8 * PAGE_SIZE)) for _ in range(2))
    for page, memory, number in ((2, one, 0), (3, one, 1), (4, one, 3), (5, two, 4)):
        epc.place(page, 1, memory, number * PAGE_SIZE)
        epc.page(page)[0] = page
    epc.unplace(2, 1)
    assert [one[number * PAGE_SIZE] for number in (0, 1, 2, 3)] == [2, 3, 0, 4]
    assert two[4 * PAGE_SIZE] == 5
    assert [epc.page(page)[0] for page in (2, 3, 4, 5)] == [0, 3, 4, 5]


def test_neighbours_become_one_run() -> None:
    epc = Epc(16)
    memory = memoryview(bytearray(8 * PAGE_SIZE))
    for number in range(8):
        epc.place(number, 1, memory, number * PAGE_SIZE)
    assert [len(view) for view in epc.views(0, 8)] == [8 * PAGE_SIZE]


def test_a_later_place_wins() -> None:
    epc = Epc(PAGES)
    one, two = bytearray(page_of(1) * 6), bytearray(page_of(2) * 2)
    epc.place(2, 6, memoryview(one), 0)
    epc.place(4, 2, memoryview(two), 0)
    assert [epc.page(n)[0] for n in range(2, 8)] == [1, 1, 2, 2, 1, 1]
    epc.page(7)[0] = 9
    assert one[5 * PAGE_SIZE] == 9


def test_a_placed_page_forgets_what_it_was() -> None:
    epc = Epc(PAGES)
    epc.page(3)[0] = 7
    epc.place(3, 1, memoryview(bytearray(PAGE_SIZE)), 0)
    epc.unplace(3, 1)
    assert epc.page(3)[0] == 0


@pytest.mark.parametrize(("first", "count"), [(-1, 1), (PAGES, 1), (15, 2), (3, 0)])
def test_there_are_no_other_pages(first: int, count: int) -> None:
    epc = Epc(PAGES)
    with pytest.raises(
        ValueError, match=f"no such pages in the EPC: {first}, {count} of them"
    ):
        epc.place(first, count, memoryview(bytearray(2 * PAGE_SIZE)), 0)
    with pytest.raises(
        ValueError, match=f"no such pages in the EPC: {first}, {count} of them"
    ):
        list(epc.views(first, count))


@pytest.mark.parametrize("offset", [-1, 1, PAGE_SIZE])
def test_a_run_must_fit_its_memory(offset: int) -> None:
    with pytest.raises(ValueError, match="does not fit"):
        Epc(PAGES).place(0, 2, memoryview(bytearray(2 * PAGE_SIZE)), offset)


RUN = st.tuples(st.integers(0, PAGES - 1), st.integers(1, 6)).filter(
    lambda run: sum(run) <= PAGES
)


@given(steps=st.lists(st.tuples(RUN, st.booleans()), max_size=12), run=RUN)
def test_any_order_of_places_agrees_with_a_plain_list(
    steps: list[tuple[tuple[int, int], bool]], run: tuple[int, int]
) -> None:
    epc, plain = Epc(PAGES), [0] * PAGES
    for mark, ((first, count), placing) in enumerate(steps, 1):
        if placing:
            memory = bytearray(page_of(mark) * (count + 1))
            epc.place(first, count, memoryview(memory), PAGE_SIZE)
        else:
            epc.unplace(first, count)
        plain[first : first + count] = [mark if placing else 0] * count
    expected = {n: page_of(mark) for n, mark in enumerate(plain) if mark}
    assert epc.contents() == expected
    first, count = run
    joined = b"".join(epc.views(first, count))
    assert joined == b"".join(page_of(mark) for mark in plain[first : first + count])


def test_views_of_one_place_are_one_piece() -> None:
    epc = Epc(PAGES)
    epc.place(0, PAGES, memoryview(bytearray(PAGES * PAGE_SIZE)), 0)
    assert [view.nbytes for view in epc.views(2, 10)] == [10 * PAGE_SIZE]


def test_a_page_taken_out_and_put_back_joins_again() -> None:
    epc, memory = Epc(PAGES), memoryview(bytearray(PAGES * PAGE_SIZE))
    for number in range(4):
        epc.place(number, 1, memory, number * PAGE_SIZE)
    epc.unplace(2, 1)
    epc.page(2)[0] = 7
    assert [view.nbytes // PAGE_SIZE for view in epc.views(0, 4)] == [2, 1, 1]
    assert not any(memory)
    epc.place(2, 1, memory, 2 * PAGE_SIZE)
    assert [view.nbytes // PAGE_SIZE for view in epc.views(0, 4)] == [3, 1]
    epc.page(2)[0] = 9
    assert memory[2 * PAGE_SIZE] == 9
