"""Threads that do what somebody else's process can make take as long as it likes.

What works on the memory of a process waits in the kernel for its lock, which the
process may hold while a file system of its user's takes its time.  Nobody can interrupt
that.  Who has the turn has it done by a deputy, and goes on if it does not end soon.
"""

import errno
import os
import signal
from _thread import allocate_lock, start_new_thread
from collections.abc import Callable
from typing import Any

_PATIENCE_S = 0.5
"""Seconds that are waited for the first that is late; for the next ones less."""


class LateError(OSError):
    """What was to be done is not done by now; it will be at some time."""

    def __init__(self) -> None:
        super().__init__(errno.EAGAIN, os.strerror(errno.EAGAIN))


class Errand:
    """Something to be done, and what is to be done after it if it is late."""

    def __init__(self, do: Callable[[], Any]):
        self._do = do
        self._lock = allocate_lock()
        self._done = allocate_lock()
        self._done.acquire()
        self._after: list[Callable[[], None]] = []
        self.is_over = False
        self._failure: BaseException | None = None
        self._result: Any = None

    def wait(self, seconds: float) -> Any:  # noqa: ANN401 -- whatever it is
        """Return what came of the errand, or raise it; LateError."""
        if not self._done.acquire(timeout=seconds):
            raise LateError
        if self._failure is not None:
            raise self._failure
        return self._result

    def then(self, do: Callable[[], None]) -> bool:
        """Have something done afterwards; False: all is over, what came after too."""
        with self._lock:
            if not self.is_over:
                self._after.append(do)
            return not self.is_over

    def carry_out(self) -> None:
        """Do what was to be done, and what comes after."""
        try:
            self._result = self._do()
        except BaseException as failure:  # noqa: BLE001 -- who waits raises it
            self._failure = failure
        self._done.release()
        while after := self._next():
            try:
                after()
            except OSError as failure:
                self._failure = failure  # nobody waits any more

    def _next(self) -> Callable[[], None] | None:
        with self._lock:
            if self._after:
                return self._after.pop(0)
            self.is_over = True
            return None


class Deputies:
    """The threads that do errands: as many as are late, and one."""

    def __init__(self) -> None:
        self._free: list[_Deputy] = []
        self._late: list[Errand] = []

    def start(self, do: Callable[[], Any]) -> Errand:
        """Have something done; LateError: there is nobody to do it."""
        errand = Errand(do)
        try:
            deputy = self._free.pop() if self._free else _Deputy(self._free)
        except RuntimeError:  # no thread can be made
            raise LateError from None
        deputy.take(errand)
        return errand

    @property
    def patience(self) -> float:
        """Seconds to wait for an errand."""
        self._late = [errand for errand in self._late if not errand.is_over]
        return _PATIENCE_S / (1 + len(self._late))

    def give_up(self, errand: Errand) -> None:
        """Take note that nobody waits for an errand any more."""
        self._late.append(errand)


class _Deputy:
    def __init__(self, free: "list[_Deputy]"):
        self._free = free
        self._errand: Errand | None = None
        self._go = allocate_lock()
        self._go.acquire()
        start_new_thread(self._run, ())

    def take(self, errand: Errand) -> None:
        self._errand = errand
        self._go.release()

    def _run(self) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        while True:
            self._go.acquire()
            if self._errand is not None:
                self._errand.carry_out()
            self._errand = None
            self._free.append(self)
