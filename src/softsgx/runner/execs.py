"""execve in the tree: each program begins with a call to us, and gets the agent."""

import errno
import os
import signal
from collections.abc import Callable
from contextlib import suppress

from softsgx.native import lib
from softsgx.native.notify import Listener, Notification
from softsgx.native.numbers import AGENT_BASE, Call
from softsgx.runner.host_code import HostCode
from softsgx.runner.threads import pid_of

TYPE_CHECKING = False
if TYPE_CHECKING:  # without typing, which takes long to import
    from softsgx.runner.newborns import Newborns

EXECS = frozenset({59, 322})
"""System calls: execve and execveat."""

_GONE = frozenset({errno.ESRCH, errno.ENOENT})
_WAITING = 256
"""New programs that may be on their way to their call before somebody looks whether
some of them were killed."""


class Execs:
    """Puts the agent into every program of the tree."""

    def __init__(
        self,
        listener: Listener,
        code: HostCode,
        injector: lib.Injector,
        complain: Callable[[str], None],
    ):
        self._listener = listener
        self._code = code
        self._injector = injector
        self._complain = complain
        self._starting: dict[int, lib.Start] = {}
        self._newborns: Newborns | None = None

    def follow(self, call: Notification) -> int:
        """Let an execve happen, and have what comes of it call before it begins.

        Returns the pid; 0 if it failed.
        """
        tid = call.tid
        try:
            pid = tid if lib.is_leader(tid) else pid_of(tid)
            start = self._injector.follow(self._listener.fd, call.id, tid, pid)
        except OSError as error:
            if error.errno == errno.EPERM and self._debugged().expect(tid):
                self._listener.let_continue(call.id)
            else:
                self._refuse(call, gone=error.errno in _GONE)
            return 0
        if start is None:
            return 0
        if not start.error:
            self._expect(pid, start)
        elif start.error != errno.ENOEXEC:
            # A program of 32 bits goes on alone; this one was killed.
            self._complain_of(pid, OSError(start.error, os.strerror(start.error)))
        return pid

    def start(self, call: Notification) -> None:
        """Put the agent into a program that called; *call* has where it mapped it."""
        start = self._starting.pop(call.tid, None)
        if start is None:
            self._listener.answer(call.id, 0, errno.ENOSYS)
            return
        injector = self._newborns and self._newborns.injector_of(call.tid)
        memory = call.args[1]
        if memory != AGENT_BASE:
            self._failed(call, OSError(_errno_of(memory), "its memory is not free"))
        else:
            self._inject(call, injector or self._injector, start)

    def debugger(self, call: Notification) -> int:
        """Answer a call about a process that another one traces.

        Returns the pid of one that turns out to have gone through execve; 0.
        """
        debugged = self._debugged()
        if call.args[0] == Call.BORN:
            self._born(call, debugged)
        elif call.args[0] == Call.TRACEME:
            debugged.traceme(call.tid)
            self._listener.answer(call.id, 0)
        else:
            begins, executed = debugged.tracee(call.args[1])
            self._listener.answer(call.id, int(begins))
            return executed
        return 0

    def _debugged(self) -> "Newborns":
        if self._newborns is None:
            # Imported when the first debugger is met.
            from softsgx.runner.newborns import Newborns  # noqa: PLC0415 -- see above

            self._newborns = Newborns(self._injector)
        return self._newborns

    def _born(self, call: Notification, debugged: "Newborns") -> None:
        try:
            injector, start = debugged.born(call.tid, call.args[1])
        except OSError as error:
            self._listener.answer(call.id, 0, error.errno or errno.EIO)
        else:
            self._inject(call, injector, start)

    def _inject(
        self, call: Notification, injector: lib.Injector, start: lib.Start
    ) -> None:
        try:
            injector.inject(start, self._code.of_program(start.pid))
        except OSError as error:
            self._failed(call, error)
        else:
            self._listener.answer(call.id, 0)

    def _failed(self, call: Notification, error: OSError) -> None:
        """End a program that the filter would kill at its first file."""
        with suppress(ProcessLookupError):
            os.kill(call.tid, signal.SIGKILL)
        if error.errno not in _GONE:
            self._complain_of(call.tid, error)
        self._listener.answer(call.id, 0)

    def text(self, call: Notification) -> None:
        """Rewrite what a file's code that was just mapped has of CPUIDs."""
        _, start, length, fd, offset, watched = call.args
        path = f"/proc/{call.tid}/fd/{fd & 0xFFFF_FFFF}"
        extent = (start, length, offset)
        self._code.rewrite_text(call.tid, path, extent, watched=bool(watched))
        self._listener.answer(call.id, 0)

    def _expect(self, pid: int, start: lib.Start) -> None:
        if len(self._starting) >= _WAITING:
            waiting = self._starting.items()
            self._starting = {p: s for p, s in waiting if lib.is_leader(p)}
        self._starting[pid] = start

    def _complain_of(self, pid: int, error: OSError) -> None:
        self._complain(f"pid {pid}: cannot put the agent in: {error}")

    def _refuse(self, call: Notification, *, gone: bool) -> None:
        """Without ptrace there is no agent, and without it no program can go on."""
        if not gone:
            self._complain(
                f"pid {call.tid}: execve refused, another process traces it "
                "(attach the tracer later instead)"
            )
        self._listener.answer(call.id, 0, errno.EPERM)


def _errno_of(returned: int) -> int:
    """Return the errno in what a system call returned; EEXIST if it is none."""
    number = (1 << 64) - returned
    return number if number < 4096 else errno.EEXIST
