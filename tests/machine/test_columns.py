from hypothesis import given
from hypothesis import strategies as st

from softsgx.machine.columns import CHUNK, Columns

ROWS = 3 * CHUNK

FILLS = st.lists(
    st.tuples(
        st.integers(0, ROWS - 1),
        st.integers(1, ROWS),
        st.tuples(st.integers(0, 9), st.integers(0, 9)),
        st.tuples(st.integers(0, 2), st.integers(0, 2)),
    ).filter(lambda fill: fill[0] + fill[1] <= ROWS),
    max_size=6,
)


@given(fills=FILLS)
def test_agrees_with_a_plain_list(
    fills: list[tuple[int, int, tuple[int, int], tuple[int, int]]],
) -> None:
    columns, plain = Columns("HQ"), [(0, 0)] * ROWS
    for first, count, values, steps in fills:
        columns.fill(first, count, values, steps)
        for at in range(count):
            a, b = (v + at * s for v, s in zip(values, steps, strict=True))
            plain[first + at] = (a, b)
    assert [columns.get(row) for row in range(ROWS)] == plain
    used = [row for row, pair in enumerate(plain) if any(pair)]
    assert list(columns.rows()) == used
    for first, stop in ((0, len(plain)), (7, 9), (511, 513), (600, 1500)):
        part = columns.rows_in(first, stop - first)
        assert list(part) == [row for row in used if first <= row < stop]
    assert list(columns.column(1, 0, ROWS)) == [pair[1] for pair in plain]


def test_one_row_can_be_set() -> None:
    columns = Columns("HQ")
    columns.set(1 << 28, (7, 8))
    assert columns.get(1 << 28) == (7, 8)
    assert columns.get((1 << 28) + 1) == (0, 0)


def test_a_chunk_of_zeros_takes_no_memory() -> None:
    columns = Columns("HQ")
    columns.fill(0, ROWS, (1, 1), (0, 0))
    columns.fill(0, ROWS, (0, 0), (0, 0))
    assert not columns.chunks


def test_a_chunk_that_becomes_zeros_piece_by_piece_takes_none_either() -> None:
    columns = Columns("HQ")
    columns.fill(10, 3, (1, 0), (0, 0))
    columns.fill(10, 2, (0, 0), (0, 0))
    assert columns.get(12) == (1, 0)
    columns.set(12, (0, 0))
    assert not columns.chunks
    columns.fill(10, 3, (0, 1), (0, 0))
    columns.fill(0, 100, (0, 0), (0, 0))
    assert not columns.chunks


def test_zeros_make_no_chunk() -> None:
    columns = Columns("HQ")
    columns.fill(10, 3, (0, 0), (0, 0))
    assert not columns.chunks
