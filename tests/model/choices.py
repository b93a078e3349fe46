"""Where a life's choices come from: a seed, or hypothesis, which can simplify them."""

from collections.abc import Sequence
from random import Random  # noqa: TID251 -- a test's choices, told by their seed
from typing import Protocol, TypeVar

from hypothesis import strategies as st

T = TypeVar("T")


class Choices(Protocol):
    """Somebody who chooses."""

    def integer(self, low: int, high: int) -> int:
        """Return a number from *low* to *high*, both of them too."""

    def of(self, items: Sequence[T]) -> T:
        """Return one of some things."""

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """Return them in any order."""


class Rolled:
    """Choices that a seed makes."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)  # noqa: S311 -- as above

    def integer(self, low: int, high: int) -> int:
        # Not randint, which takes three times as long.
        return low + int(self._random.random() * (high - low + 1))

    def of(self, items: Sequence[T]) -> T:
        return items[int(self._random.random() * len(items))]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        return self._random.sample(items, len(items))


class Drawn:
    """Choices that hypothesis makes."""

    def __init__(self, data: st.DataObject) -> None:
        self._data = data

    def integer(self, low: int, high: int) -> int:
        return self._data.draw(st.integers(low, high))

    def of(self, items: Sequence[T]) -> T:
        return self._data.draw(st.sampled_from(items))

    def shuffled(self, items: Sequence[T]) -> list[T]:
        return self._data.draw(st.permutations(items))
