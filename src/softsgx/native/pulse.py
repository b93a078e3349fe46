"""What threads that serve show each other, and the part of serving that is in C."""

import ctypes

from softsgx.native.library import checked, library

NOTIFICATION = 80
"""Bytes of a call as it is received."""

_MOST_READY = 16
_SERVE_CALL, _SERVE_LATE = 100, 101


class Ready:
    """What a thread that leads waited for: descriptors to look at without waiting.

    *call*, of the one descriptor: a notification that was received and is to be carried
    out.  Without descriptors: the time is over, or *is_late*, another thread leads.
    """

    __slots__ = ("call", "fds", "is_late")

    def __init__(
        self, fds: list[int], call: bytes = b"", *, is_late: bool = False
    ) -> None:
        self.fds = fds
        self.call = call
        self.is_late = is_late


class Pulse:
    """Shows, to another thread, whether one is in a call, and since when."""

    def __init__(self) -> None:
        self._words = (ctypes.c_uint32 * 3)()
        self._at = ctypes.addressof(self._words)

    @property
    def beat(self) -> int:
        """The number of the call, odd, or of the pause behind it."""
        return self._words[0]

    def begin(self) -> None:
        """Show that a call begins, if it did not in `lead`."""
        words = self._words
        if words[0] & 1:
            return
        words[0] += 1
        if words[1]:
            library().softsgx_wake(self._at)

    def end(self) -> None:
        """Show that it is over."""
        self._words[0] += 1

    def lead(self, epoll: int, timeout_ms: int | None) -> Ready:
        """Serve what needs no Python, see plain.c, until something else is ready."""
        found = (ctypes.c_int * _MOST_READY)()
        call = ctypes.create_string_buffer(NOTIFICATION)
        timeout = -1 if timeout_ms is None else timeout_ms
        count = library().softsgx_serve(epoll, timeout, self._at, found, call)
        if count == _SERVE_CALL:
            return Ready([found[0]], call.raw)
        if count == _SERVE_LATE:
            return Ready([], is_late=True)
        return Ready(found[: checked(count, "serve")])

    def watch(self) -> int:
        """Wait until a call takes longer than a millisecond; 0: `stop` was called."""
        beat: int = library().softsgx_watch(self._at)
        return beat

    def take_over(self, beat: int) -> bool:
        """Lead in place of a thread, if it still is in that call."""
        return bool(library().softsgx_take_over(self._at, beat))

    def stop(self) -> None:
        """Let `watch` return."""
        self._words[2] = 1
        library().softsgx_wake(self._at)
