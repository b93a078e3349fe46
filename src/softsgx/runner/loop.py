"""The supervisor's one place to wait."""

import select
from collections.abc import Callable


class Loop:
    """Descriptors, and what is done when one of them is readable or hung up.

    The descriptor *last* has its turn after the others: what they tell came before.
    One thread waits; others may add and forget meanwhile.
    """

    def __init__(self, last: int) -> None:
        self._last = last
        self._epoll = select.epoll()
        self._do: dict[int, Callable[[], None]] = {}

    def on_readable(self, fd: int, do: Callable[[], None]) -> None:
        """Have something done whenever a descriptor is readable."""
        self._do[fd] = do
        self._epoll.register(fd, select.EPOLLIN)

    def on_hang_up(self, fd: int, do: Callable[[], None]) -> None:
        """Have something done when nobody is left at a descriptor's other end."""
        self._do[fd] = do
        self._epoll.register(fd, 0)

    def forget(self, fd: int) -> None:
        """Wait for a descriptor no more."""
        del self._do[fd]
        self._epoll.unregister(fd)

    def wait(self, timeout_ms: int | None) -> list[int]:
        """Wait once, not longer than told; return the descriptors that are due."""
        timeout = None if timeout_ms is None else timeout_ms / 1000
        due = [fd for fd, _ in self._epoll.poll(timeout)]
        if len(due) > 1:
            due.sort(key=self._last.__eq__)
        return due

    def close(self) -> None:
        """Wait for nothing any more."""
        self._do.clear()
        self._epoll.close()

    def do(self, fd: int) -> None:
        """Do what is due, if it was not forgotten meanwhile."""
        if fd in self._do:
            self._do[fd]()


def is_hung_up(fd: int) -> bool:
    """Say whether nobody is left at the other end of a descriptor."""
    poll = select.poll()
    poll.register(fd, 0)
    return bool(poll.poll(0))
