"""The threads that serve: as many as there are calls that take long, and two.

One leads: it waits for what is due and does it.  One watches the leader, and when a
call takes longer than a millisecond it leads in its place; who is late finishes its
call and waits to be needed.  So a short call never meets another thread.
"""

import os
from _thread import allocate_lock, start_new_thread
from abc import ABC, abstractmethod
from time import monotonic, sleep

from softsgx.native.attend import deafen
from softsgx.native.pulse import Pulse, Ready

TYPE_CHECKING = False
if TYPE_CHECKING:  # what takes long to import is not, here
    from softsgx.runner.loop import Loop
    from softsgx.runner.task.turn import Turn

_MOMENT = 0.001
_LEAST = 2
_MOST = 64
"""Threads: when so many are in calls that take long, the others wait."""


class Employer(ABC):
    """Whom a crew works for: says when all is done, and what to do meanwhile."""

    @property
    @abstractmethod
    def is_done(self) -> bool:
        """Whether there will be no more work."""

    @property
    @abstractmethod
    def recheck_ms(self) -> int | None:
        """After how long to call `idle` if nothing is due; None: not at all."""

    @abstractmethod
    def idle(self) -> None:
        """Do what is to be done when nothing was due for that long."""


class Places:
    """Where threads have to be asked for: here there are as many as one likes."""

    def take(self) -> bool:
        """Say whether there can be one more."""
        return True

    def give(self, count: int) -> None:
        """Give back what was taken."""


class Crew:
    """Serves until the work is done, or until told: then `over_fd` is readable.

    Threads for calls that take long have their *places*.
    """

    def __init__(
        self,
        turn: "Turn",
        loop: "Loop",
        employer: Employer,
        places: "Places | None" = None,
    ):
        self._turn, self._loop, self._employer = turn, loop, employer
        self._places = places or Places()
        self._pulse = Pulse()
        self._watching = allocate_lock()
        self._gone = allocate_lock()
        self._gone.acquire()
        self._leader = 0
        self._made = self._living = self._late = 0
        self._leaves = self._is_over = False
        self._failure: BaseException | None = None
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.over_fd = os.eventfd(0, os.EFD_CLOEXEC)

    def start(self) -> None:
        """Begin to serve; OSError(EAGAIN) if there can be no threads."""
        self._loop.on_readable(self._bell, lambda: _hear(self._bell))
        with self._turn:
            try:
                self._add()
            except OSError:
                self._gone.release()
                raise
            self._add()

    def retire(self) -> None:
        """Take no more work, and end at a moment at which no call is under way."""
        with self._turn:
            self._leaves = True
        os.eventfd_write(self._bell, 1)

    def leave(self) -> bool:
        """Retire, and wait for the end.

        False: the work was done before.  Raises what a thread of ours died of.
        """
        self.retire()
        self._gone.acquire()
        self._loop.forget(self._bell)
        self.raise_failure()
        return not self._employer.is_done

    def close(self) -> bool:
        """Give back what a crew that is over had; False: a thread is still at work."""
        if not self._gone.acquire(blocking=False):
            return False
        os.close(self._bell)
        os.close(self.over_fd)
        return True

    def settle(self, seconds: float) -> None:
        """Let calls that are under way come to their end, if that is soon."""
        latest = monotonic() + seconds
        while self._is_busy() and monotonic() < latest:
            sleep(_MOMENT)

    def _is_busy(self) -> bool:
        is_owing = self._loop.owes  # first: who takes one begins a beat before
        with self._turn:
            is_busy = is_owing or self._late or self._pulse.beat & 1
            return bool(is_busy) and not self._is_over

    def raise_failure(self) -> None:
        """Raise what a thread of ours died of, if one did.

        An OSError becomes a RuntimeError: it is our defect, not the program's start's.
        """
        failure = self._failure
        if failure is None:
            return
        if isinstance(failure, OSError):
            failure = RuntimeError(f"while serving: {failure}")
            failure.__cause__ = self._failure
        raise failure

    # ---- threads ----

    def _add(self) -> None:
        is_more = self._made >= _LEAST
        if self._living == _MOST or (is_more and not self._places.take()):
            return
        try:
            start_new_thread(self._run, (self._made,))
        except RuntimeError:
            if is_more:
                self._places.give(1)
            if not self._living:
                raise OSError(11, "no thread can be made") from None
            return
        self._made += 1
        self._living += 1

    def _run(self, me: int) -> None:
        deafen()
        try:
            if me == self._leader:
                self._lead(me)
            while not self._is_over:
                with self._watching:
                    takes_over = self._watch(me)
                if takes_over:
                    self._lead(me)
        except BaseException as failure:  # noqa: BLE001 -- the main thread raises it
            self._failure = failure
            self._end()
        with self._turn:
            self._living -= 1
            if not self._living:
                self._gone.release()
                if self._made > _LEAST:
                    self._places.give(self._made - _LEAST)

    def _watch(self, me: int) -> bool:
        """Wait until the leader is late, and lead; False: it is not, or all is over."""
        beat = self._pulse.watch()
        with self._turn:
            if self._is_over or not self._pulse.take_over(beat):
                return False
            self._leader = me
            self._late += 1
            if self._living - self._late < 2:
                self._add()
            return True

    def _lead(self, me: int) -> None:
        while self._leader == me and not self._is_over:
            ready = self._loop.wait(self._pulse, self._employer.recheck_ms)
            with self._turn:
                if self._leader == me:
                    self._pulse.begin()
                self._do(me, ready)
                if self._leader == me:
                    self._pulse.end()
                else:
                    self._late -= 1
                if self._employer.is_done or (self._leaves and not self._late):
                    self._end()

    def _do(self, me: int, ready: Ready) -> None:
        for fd in ready.fds:
            self._loop.do(fd, ready.call)
            if self._leader != me:
                return  # what else is ready is for the new one
        if not ready.fds and not ready.is_late:
            self._employer.idle()

    def _end(self) -> None:
        self._is_over = True
        self._pulse.stop()
        os.eventfd_write(self._bell, 1)
        os.eventfd_write(self.over_fd, 1)


def _hear(bell: int) -> None:
    os.eventfd_read(bell)
