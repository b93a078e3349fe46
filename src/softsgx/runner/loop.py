"""The supervisor's one place to wait."""

import select
from collections.abc import Callable


class Loop:
    """Descriptors, and what is done when one of them is readable or hung up.

    The descriptor *last* has its turn after the others: what they tell came before.
    """

    def __init__(self, last: int) -> None:
        self._last = last
        self._poll = select.poll()
        self._do: dict[int, Callable[[], None]] = {}

    def on_readable(self, fd: int, do: Callable[[], None]) -> None:
        """Have something done whenever a descriptor is readable."""
        self._do[fd] = do
        self._poll.register(fd, select.POLLIN)

    def forget(self, fd: int) -> None:
        """Wait for a descriptor no more."""
        del self._do[fd]
        self._poll.unregister(fd)

    def turn(self, timeout_ms: int | None) -> bool:
        """Wait once, not longer than told, and do what is due; False: nothing was."""
        due = [fd for fd, _ in self._poll.poll(timeout_ms)]
        for fd in sorted(due, key=self._last.__eq__):
            if fd in self._do:
                self._do[fd]()
        return bool(due)


def is_hung_up(fd: int) -> bool:
    """Say whether nobody is left at the other end of a descriptor."""
    poll = select.poll()
    poll.register(fd, 0)
    return bool(poll.poll(0))
