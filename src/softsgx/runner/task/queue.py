"""Who came first is served first, however long it takes him to come to the counter."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from threading import Condition


class Queue:
    """Gives places; each of them has to be used, once."""

    def __init__(self) -> None:
        self._given = self._served = 0
        self._moved = Condition()

    def place(self) -> AbstractContextManager[None]:
        """Return a place behind all others: `with` it one waits, and then is alone."""
        with self._moved:
            number = self._given
            self._given += 1
        return self._at(number)

    @contextmanager
    def _at(self, number: int) -> Iterator[None]:
        with self._moved:
            self._moved.wait_for(lambda: self._served == number)
        try:
            yield
        finally:
            with self._moved:
                self._served += 1
                self._moved.notify_all()
