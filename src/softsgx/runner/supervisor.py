"""The supervisor: answers the tree's calls until the program has ended."""

import errno
from abc import ABC, abstractmethod
from collections.abc import Callable

from softsgx.native.notify import Listener, Notification
from softsgx.native.numbers import AGENT_BASE, CALL_NR, VDSO_OFFSET, Call
from softsgx.runner.execs import EXECS, Execs
from softsgx.runner.loop import Loop, is_hung_up
from softsgx.runner.threads import pid_of

NOT_OURS = 4095
"""The agent's error for: this is none of softsgx's, let the kernel do it."""

_OF_DEBUGGERS = frozenset({Call.TRACEME, Call.TRACEE, Call.BORN})
_OF_MEMORY = frozenset({Call.PEEK, Call.POKE, Call.MEMORY})


class Sgx(ABC):
    """What stands behind the devices and ENCLU: `serving.Serving`."""

    watch_fd: int

    @property
    @abstractmethod
    def recheck_ms(self) -> int | None:
        """After how long to call `release_gone` unasked; None: not at all."""

    @abstractmethod
    def answer(self, listener: Listener, call: Notification) -> None:
        """Carry out an agent's call and answer it; OSError has the errno instead."""

    @abstractmethod
    def executed(self, pid: int) -> None:
        """Take note of an execve."""

    @abstractmethod
    def release_gone(self) -> None:
        """Release what nobody has any more."""


class Supervisor:
    """One tree of processes; what answers for SGX is made at the first such call."""

    def __init__(
        self,
        listener: Listener,
        loop: Loop,
        execs: Execs,
        make_sgx: Callable[[Loop], Sgx],
    ):
        self._listener = listener
        self._loop = loop
        self._execs = execs
        self._make_sgx = make_sgx
        self._sgx: Sgx | None = None
        self._is_done = False
        loop.on_readable(listener.fd, self._call)

    def serve(self, until: Callable[[], bool]) -> bool:
        """Answer calls until told; False: nobody is left who could make one."""
        while not self._is_done and not until():
            sgx = self._sgx
            if not self._loop.turn(sgx.recheck_ms if sgx else None) and sgx:
                sgx.release_gone()
        return not self._is_done

    def has_callers(self) -> bool:
        """Say whether a process of the tree is left that could make a call."""
        return not is_hung_up(self._listener.fd)

    def _call(self) -> None:
        call = self._listener.receive()
        if call is None:
            self._is_done = not self.has_callers()
        elif call.nr in EXECS:
            pid = self._execs.follow(call)
            if pid and self._sgx:
                self._sgx.executed(pid)
        elif call.nr == CALL_NR:
            self._our_call(call)
        else:
            self._listener.let_continue(call.id)

    def _our_call(self, call: Notification) -> None:
        if call.args[0] == Call.START:
            self._execs.start(call)
        elif not AGENT_BASE <= call.ip < AGENT_BASE + VDSO_OFFSET:
            # The program's own: Linux has no such call.
            self._listener.answer(call.id, 0, errno.ENOSYS)
        elif call.args[0] == Call.TEXT:
            self._execs.text(call)
        elif call.args[0] in _OF_DEBUGGERS:
            pid = self._execs.debugger(call)
            if pid and self._sgx:
                self._sgx.executed(pid)
        elif call.args[0] in _OF_MEMORY and self._sgx is None:
            self._listener.answer(call.id, 0, NOT_OURS)
        else:
            self._agent_call(call)

    def _agent_call(self, call: Notification) -> None:
        # Until somebody uses SGX there is nothing that a child could have inherited.
        is_needed = call.args[0] != Call.FORKED
        if self._sgx is None and is_needed:
            self._sgx = self._make_sgx(self._loop)
            self._loop.on_readable(self._sgx.watch_fd, self._sgx.release_gone)
        try:
            if self._sgx:
                self._sgx.answer(self._listener, call)
            else:
                self._listener.answer(call.id, pid_of(call.tid))
        except OSError as error:
            self._listener.answer(call.id, 0, error.errno or errno.EIO)
