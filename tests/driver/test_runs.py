from array import array

from hypothesis import given, settings
from hypothesis import strategies as st

from softsgx.driver.epc.runs import rising_run, same_run


def slow_same(values: list[int], start: int, stop: int) -> int:
    length = 1
    while start + length < stop and values[start + length] == values[start]:
        length += 1
    return length


def slow_rising(values: list[int], start: int, stop: int) -> int:
    length = 1
    while start + length < stop and values[start + length] == values[start] + length:
        length += 1
    return length


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 70)), min_size=1), st.data()
)
def test_same_run_is_what_a_loop_finds(
    blocks: list[tuple[int, int]], data: st.DataObject
) -> None:
    values = [value for value, count in blocks for _ in range(count)]
    start = data.draw(st.integers(0, len(values) - 1))
    stop = data.draw(st.integers(start + 1, len(values)))
    assert same_run(array("H", values), start, stop) == slow_same(values, start, stop)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 300), st.integers(1, 70)), min_size=1), st.data()
)
def test_rising_run_is_what_a_loop_finds(
    blocks: list[tuple[int, int]], data: st.DataObject
) -> None:
    values = [first + at for first, count in blocks for at in range(count)]
    start = data.draw(st.integers(0, len(values) - 1))
    stop = data.draw(st.integers(start + 1, len(values)))
    found = rising_run(array("I", values), start, stop)
    assert found == slow_rising(values, start, stop)
