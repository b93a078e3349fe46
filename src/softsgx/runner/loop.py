"""The supervisor's one place to wait."""

import select

from softsgx.native.pulse import Pulse, Ready

TYPE_CHECKING = False
if TYPE_CHECKING:  # what takes long to import is not, here
    from collections.abc import Callable


class Loop:
    """Descriptors, and what is done when one of them is readable or hung up.

    The descriptor *last* has its turn after the others: what they tell came before.
    One thread waits; others may add and forget meanwhile.
    """

    def __init__(self, last: int) -> None:
        self._last = last
        self._epoll = select.epoll()
        self._do: dict[int, Callable[[bytes], None]] = {}
        self._owed: list[tuple[int, bytes]] = []

    def owe(self, fd: int, calls: list[bytes]) -> None:
        """Have calls of a listener that were received before carried out first."""
        self._owed += [(fd, call) for call in calls]

    @property
    def owes(self) -> bool:
        """Whether such a call has not begun."""
        return bool(self._owed)

    def on_readable(self, fd: int, do: "Callable[[], None]") -> None:
        """Have something done whenever a descriptor is readable."""
        self.on_call(fd, lambda _: do())

    def on_call(self, fd: int, do: "Callable[[bytes], None]") -> None:
        """Have a listener's calls carried out: one that was received, or b""."""
        self._do[fd] = do
        self._epoll.register(fd, select.EPOLLIN)

    def on_hang_up(self, fd: int, do: "Callable[[bytes], None]") -> None:
        """Have something done when nobody is left at a listener's other end.

        Or with a call that a thread had received before: as `on_call`.
        """
        self._do[fd] = do
        self._epoll.register(fd, 0)

    def forget(self, fd: int) -> None:
        """Wait for a descriptor no more."""
        del self._do[fd]
        self._epoll.unregister(fd)

    def wait(self, pulse: Pulse, timeout_ms: int | None) -> Ready:
        """Wait, not longer than told; return what is ready.

        Who waits shows by its pulse how long the calls take that are served in C.
        """
        if self._owed:
            pulse.begin()
            fd, call = self._owed.pop(0)
            return Ready([fd], call)
        ready = pulse.lead(self._epoll.fileno(), timeout_ms)
        if len(ready.fds) > 1:
            ready.fds.sort(key=self._last.__eq__)
        return ready

    def close(self) -> None:
        """Wait for nothing any more."""
        self._do.clear()
        self._epoll.close()

    def do(self, fd: int, call: bytes) -> None:
        """Do what is due, if it was not forgotten meanwhile."""
        if fd in self._do:
            self._do[fd](call)


def is_hung_up(fd: int) -> bool:
    """Say whether nobody is left at the other end of a descriptor."""
    poll = select.poll()
    poll.register(fd, 0)
    return bool(poll.poll(0))
