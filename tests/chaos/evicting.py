"""`python -m tests.chaos.evicting SEED WORDS...`: softsgx, its EPC never left in peace.

What the words say is done as ever.  Beside it a thread takes the turn every few
milliseconds, as who makes room in a full EPC does, and evicts what it can: a few pages,
or all of an enclave's.  So that others come between what hardly anything comes between,
steps on the way out and answers to agents take their time now and then.
"""

import os
import sys
import traceback
from _thread import start_new_thread
from collections.abc import Callable
from random import Random  # noqa: TID251 -- a test's choices, told by their seed
from time import sleep
from typing import ParamSpec, TypeVar, cast
from unittest.mock import patch

from softsgx.arch.addr import PAGE_SHIFT
from softsgx.cli import main
from softsgx.driver.driver import Driver
from softsgx.driver.encl import Encl
from softsgx.driver.paging.pages import write_out
from softsgx.native.memory import SharedMemory
from softsgx.native.notify import Listener, Notification
from softsgx.runner.loop import Loop
from softsgx.runner.machinery import Machinery
from softsgx.runner.options import RunOptions
from softsgx.runner.serving import Serving
from softsgx.runner.task.caller import Caller
from softsgx.runner.task.page_tables import PageTables
from softsgx.runner.task.turn import Turn
from softsgx.runner.tracing import Tracer

_P = ParamSpec("_P")
_R = TypeVar("_R")

PERIOD_S = 0.004
"""Between two evictions, on average: now and then it is long enough for anybody."""
MOST = 256
"""Pages that leave at once: an enclave of that size leaves altogether."""
NAP_S = 0.001
SELDOM = 1 / 16
"""How often a step or an answer takes so long at most."""
STEPS = (
    (PageTables, "protect"),
    (PageTables, "unprotect"),
    (SharedMemory, "publish"),
    (SharedMemory, "zap"),
    (SharedMemory, "put"),
)


class Evictor:
    """Takes pages of one driver's enclaves, with the turn of those who serve."""

    def __init__(self, driver: Driver, turn: Turn, random: Random):
        self._driver, self._turn, self._random = driver, turn, random
        # A run goes on in the background, for those that its program left.
        os.register_at_fork(
            before=turn.__enter__,
            after_in_parent=turn.__exit__,
            after_in_child=self._forked,
        )
        self.start()

    def start(self) -> None:
        """Begin, in a thread."""
        start_new_thread(self._work, ())

    def _forked(self) -> None:
        self._turn.__exit__()
        self.start()

    def _work(self) -> None:
        try:
            while True:
                sleep(self._random.expovariate(1 / PERIOD_S))
                with self._turn:
                    self._evict()
        except BaseException:  # noqa: BLE001 -- whatever it is, it is what we look for
            traceback.print_exc()
            os._exit(70)

    def _evict(self) -> None:
        encls = [encl for encl in self._driver.enclaves.values() if _may_leave(encl)]
        if not encls or not self._driver.reclaimer:
            return
        encl = self._random.choice(encls)
        pages = encl.size >> PAGE_SHIFT
        count = min(pages, self._random.choice((1, 16, MOST)))
        first = self._random.randrange(pages - count + 1)
        write_out(self._driver, encl, [(first, count)])


def _may_leave(encl: Encl) -> bool:
    return encl.created and all(mm.tables.can_evict for mm in encl.mms)


class Late:
    """Answers as a listener does, but others may have their turn before."""

    def __init__(self, listener: Listener, caller: Caller):
        self._listener, self._caller = listener, caller

    def answer(self, number: int, value: int, error: int = 0) -> None:
        """Answer a call."""
        with self._caller.aside():
            sleep(NAP_S)
        self._listener.answer(number, value, error)

    def answer_fd(self, number: int, fd: int, flags: int) -> None:
        """Answer a call with a descriptor."""
        self._listener.answer_fd(number, fd, flags)


def evict_all_the_time(seed: int) -> None:
    """Have what this process will serve disturbed from now on."""
    random = Random(seed)  # noqa: S311 -- as above
    known: dict[int, Evictor] = {}
    serve, answer = Machinery.serving, Serving.answer

    def serving(
        self: Machinery,
        loop: Loop,
        turn: Turn,
        options: RunOptions,
        tracer: Tracer | None = None,
    ) -> Serving:
        if id(self.driver) not in known:
            known[id(self.driver)] = Evictor(self.driver, turn, random)
        return serve(self, loop, turn, options, tracer)

    def late(
        self: Serving, listener: Listener, call: Notification, caller: Caller
    ) -> None:
        is_late = random.random() < SELDOM
        to = cast("Listener", Late(listener, caller)) if is_late else listener
        answer(self, to, call, caller)

    patch.object(Machinery, "serving", serving).start()
    patch.object(Serving, "answer", late).start()
    for kind, name in STEPS:
        patch.object(kind, name, _napping(getattr(kind, name), random)).start()


def _napping(step: Callable[_P, _R], random: Random) -> Callable[_P, _R]:
    """Return a method that takes a nap after some of its calls."""

    def longer(*args: _P.args, **named: _P.kwargs) -> _R:
        try:
            return step(*args, **named)
        finally:
            if random.random() < SELDOM:
                sleep(random.random() * NAP_S)

    return longer


if __name__ == "__main__":
    evict_all_the_time(int(sys.argv[1]))
    sys.argv[1:2] = []
    main()
