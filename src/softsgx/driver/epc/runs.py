"""Runs in columns of integers, found by comparing memory instead of items."""

from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby


def same_run(column: "array[int]", start: int, stop: int) -> int:
    """Return how many items of start..stop-1 equal the first of them, from it on."""
    one = column[start : start + 1]

    def holds(low: int, high: int) -> bool:
        return column[start + low : start + high] == one * (high - low)

    return _longest(stop - start, holds)


def rising_run(column: "array[int]", start: int, stop: int) -> int:
    """Return how many items of start..stop-1 rise by one each, from the first on."""
    first, code = column[start], column.typecode

    def holds(low: int, high: int) -> bool:
        ramp = array(code, range(first + low, first + high))
        return column[start + low : start + high] == ramp

    return _longest(stop - start, holds)


def _longest(limit: int, holds: Callable[[int, int], bool]) -> int:
    """Return the longest length up to *limit* up to which *holds* of each piece."""
    sure, step = 1, 1
    while sure < limit:
        piece = min(step, limit - sure)
        if holds(sure, sure + piece):
            sure += piece
            step *= 2
            continue
        # The end lies in this piece: look at halves of it from now on.
        limit = sure + piece - 1
        step = max(1, piece // 2)
    return sure


def runs_of(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Join neighbours: yield the first of each run and how many they are."""
    ordered = sorted(numbers)
    if ordered and ordered[-1] - ordered[0] == len(ordered) - 1:
        yield ordered[0], len(ordered)
        return
    for _, group in groupby(enumerate(ordered), key=lambda one: one[1] - one[0]):
        run = [number for _, number in group]
        yield run[0], len(run)
