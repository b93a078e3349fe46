"""The supervisor: answers the tree's calls until the program has ended."""

import errno
from abc import ABC, abstractmethod
from collections.abc import Callable

from softsgx.native import plain
from softsgx.native.notify import NOTIF, Listener, Notification
from softsgx.native.numbers import (
    AGENT_BASE,
    CALL_NR,
    NOT_OURS_CODE,
    VDSO_OFFSET,
    Call,
)
from softsgx.runner.crew import Employer
from softsgx.runner.execs import EXECS, Execs
from softsgx.runner.loop import Loop, is_hung_up
from softsgx.runner.task.caller import Caller
from softsgx.runner.task.threads import pid_of
from softsgx.runner.task.turn import Turn

_OF_DEBUGGERS = frozenset({Call.TRACEME, Call.TRACEE, Call.BORN})
_OF_MEMORY = frozenset({Call.PEEK, Call.POKE, Call.MEMORY})


class Sgx(ABC):
    """What stands behind the devices and ENCLU: `serving.Serving`."""

    @property
    @abstractmethod
    def recheck_ms(self) -> int | None:
        """After how long to call `release_gone` unasked; None: not at all."""

    @abstractmethod
    def answer(self, listener: Listener, call: Notification, caller: Caller) -> None:
        """Carry out an agent's call and answer it; OSError has the errno instead."""

    @abstractmethod
    def executed(self, pid: int) -> None:
        """Take note of an execve."""

    @abstractmethod
    def release_gone(self) -> None:
        """Release what nobody has any more."""


MakeSgx = Callable[[Loop, Turn], Sgx]
"""Makes that for one tree."""


class Supervisor(Employer):
    """One tree of processes; what answers for SGX is made at the first such call."""

    is_done = False

    def __init__(
        self,
        listener: Listener,
        loop: Loop,
        turn: Turn,
        execs: Execs,
        make_sgx: MakeSgx,
    ):
        self._listener = listener
        self._loop = loop
        self._turn = turn
        self._execs = execs
        self._make_sgx = make_sgx
        self._sgx: Sgx | None = None
        loop.on_call(listener.fd, self._call)

    @property
    def recheck_ms(self) -> int | None:
        """After how long to call `idle` if nobody calls; None: not at all."""
        return self._sgx.recheck_ms if self._sgx else None

    def idle(self) -> None:
        """Release what nobody has any more."""
        if self._sgx:
            self._sgx.release_gone()

    def has_callers(self) -> bool:
        """Say whether a process of the tree is left that could make a call."""
        return not is_hung_up(self._listener.fd)

    def _call(self, received: bytes) -> None:
        if received:
            self._take(Notification(NOTIF.unpack(received)))
            return
        call = self._listener.receive()
        if call is None:
            self.is_done = not self.has_callers()
        else:
            self._take(call)

    def _take(self, call: Notification) -> None:
        if call.nr in EXECS:
            self._executed(self._execs.follow(call, self._caller(call)))
        elif call.nr == CALL_NR:
            self._our_call(call)
        else:
            self._listener.let_continue(call.id)

    def _caller(self, call: Notification) -> Caller:
        return Caller(call.tid, (self._listener.fd, call.id), self._turn)

    def _executed(self, pid: int) -> None:
        if pid and self._sgx:
            self._sgx.executed(pid)

    def _our_call(self, call: Notification) -> None:
        if call.args[0] == Call.START:
            caller = self._caller(call)
            self._executed(self._execs.begun(call))
            self._execs.start(call, caller)
        elif not AGENT_BASE <= call.ip < AGENT_BASE + VDSO_OFFSET:
            # The program's own: Linux has no such call.
            self._listener.answer(call.id, 0, errno.ENOSYS)
        elif call.args[0] == Call.TEXT:
            self._execs.text(call, self._caller(call))
        elif call.args[0] in _OF_DEBUGGERS:
            self._executed(self._execs.debugger(call, self._caller(call)))
        elif call.args[0] in _OF_MEMORY and self._sgx is None:
            self._listener.answer(call.id, 0, NOT_OURS_CODE)
        else:
            self._agent_call(call)

    def _agent_call(self, call: Notification) -> None:
        # Until somebody uses SGX there is nothing that a child could have inherited.
        is_needed = call.args[0] != Call.FORKED
        if self._sgx is None and is_needed:
            plain.end(self._listener.fd)
            self._sgx = self._make_sgx(self._loop, self._turn)
        try:
            if self._sgx:
                self._sgx.answer(self._listener, call, self._caller(call))
            else:
                self._listener.answer(call.id, pid_of(call.tid))
        except OSError as error:
            self._listener.answer(call.id, 0, error.errno or errno.EIO)
