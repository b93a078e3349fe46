"""execve in the tree: each program begins with a call to us, and gets the agent."""

import errno
import os
from collections.abc import Callable
from contextlib import suppress

from softsgx.native import lib, plain
from softsgx.native.notify import Listener, Notification
from softsgx.native.numbers import AGENT_BASE, Call
from softsgx.runner.code.host_code import HostCode
from softsgx.runner.task.caller import Caller
from softsgx.runner.task.threads import pid_of

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
    """Puts the agent into every program of the tree below the process *root*."""

    def __init__(
        self,
        listener: Listener,
        code: HostCode,
        injector: lib.Injector,
        complain: Callable[[str], None],
        root: int,
    ):
        self._listener = listener
        self._code = code
        self._injector = injector
        self._complain = complain
        self._root = root
        self._starting: dict[int, lib.Start] = {}
        self._newborns: Newborns | None = None

    def follow(self, call: Notification, caller: Caller) -> int:
        """Let an execve happen, and have what comes of it call before it begins.

        Returns the pid of one that will not call; 0.
        """
        tid = call.tid
        followed = plain.take_start(self._listener.fd, tid)
        if followed and followed.error:
            self._complain_of(tid, OSError(followed.error, os.strerror(followed.error)))
            return tid
        start = lib.Start()
        try:
            pid = tid if lib.is_leader(tid) else pid_of(tid)
            # It may call while we are still about to hear that it will.
            self._expect(pid, start)
            with caller.aside():
                by = (self._listener.fd, call.id)
                happened = self._injector.follow(by, tid, pid, start)
        except OSError as error:
            self._forget(start)
            if error.errno == errno.EPERM and self._debugged().expect(caller):
                self._listener.let_continue(call.id)
            else:
                self._refuse(call, gone=error.errno in _GONE)
            return 0
        if happened and not start.error:
            return 0
        self._forget(start)
        if happened and start.error != errno.ENOEXEC:
            # A program of 32 bits goes on alone; this one was killed.
            self._complain_of(pid, OSError(start.error, os.strerror(start.error)))
        return pid if happened else 0

    def begun(self, call: Notification) -> int:
        """Return the pid of a new program that calls; 0: it is none."""
        followed = plain.take_start(self._listener.fd, call.tid)
        if followed:
            self._starting[call.tid] = followed
        start = self._starting.get(call.tid)
        return start.pid if start else 0

    def start(self, call: Notification, caller: Caller) -> None:
        """Put the agent into a program that called; *call* has where it mapped it."""
        if not self.begun(call):
            self._listener.answer(call.id, 0, errno.ENOSYS)
            return
        start = self._starting.pop(call.tid)
        injector = self._newborns and self._newborns.injector_of(call.tid)
        memory = call.args[1]
        if memory != AGENT_BASE:
            error = OSError(_errno_of(memory), "its memory is not free")
            self._failed(call, caller, error)
        else:
            self._inject(call, caller, injector or self._injector, start)

    @property
    def is_quiet(self) -> bool:
        """Whether no program is on its way to its call; none is followed in C again."""
        plain.end(self._listener.fd)
        is_quiet = plain.is_quiet(self._listener.fd)
        return is_quiet and not any(map(lib.is_leader, self._starting))

    def debugger(self, call: Notification, caller: Caller) -> int:
        """Answer a call about a process that another one traces.

        Returns the pid of one that turns out to have gone through execve; 0.
        """
        debugged = self._debugged()
        if call.args[0] == Call.BORN:
            self._born(call, caller, debugged)
        elif call.args[0] == Call.TRACEME:
            debugged.traceme(call.tid)
            self._listener.answer(call.id, 0)
        else:
            begins, executed = debugged.tracee(caller, call.args[1])
            self._listener.answer(call.id, int(begins))
            return executed
        return 0

    def _debugged(self) -> "Newborns":
        if self._newborns is None:
            # Imported when the first debugger is met.
            from softsgx.runner.newborns import Newborns  # noqa: PLC0415 -- see above

            plain.end(self._listener.fd)
            self._newborns = Newborns(self._injector, self._root)
        return self._newborns

    def _born(self, call: Notification, caller: Caller, debugged: "Newborns") -> None:
        try:
            injector, start = debugged.born(caller, call.args[1])
        except OSError as error:
            self._listener.answer(call.id, 0, error.errno or errno.EIO)
        else:
            self._inject(call, caller, injector, start)

    def _inject(
        self,
        call: Notification,
        caller: Caller,
        injector: lib.Injector,
        start: lib.Start,
    ) -> None:
        by = (self._listener.fd, call.id)
        try:
            with caller.aside():
                injector.inject(start, self._code.of_program(start.pid), by)
        except OSError as error:
            self._failed(call, caller, error)
        else:
            self._listener.answer(call.id, 0)

    def _failed(self, call: Notification, caller: Caller, error: OSError) -> None:
        """End a program that the filter would kill at its first file."""
        with suppress(OSError):
            caller.kill()
        if error.errno not in _GONE:
            self._complain_of(call.tid, error)
        self._listener.answer(call.id, 0)

    def text(self, call: Notification, caller: Caller) -> None:
        """Rewrite what a file's code that was just mapped has of CPUIDs."""
        _, start, length, fd, offset, watched = call.args
        path = f"/proc/{call.tid}/fd/{fd & 0xFFFF_FFFF}"
        extent = (start, length, offset)
        by = (self._listener.fd, call.id)
        with caller.aside():
            self._code.rewrite_text(call.tid, path, extent, by, watched=bool(watched))
        self._listener.answer(call.id, 0)

    def _expect(self, pid: int, start: lib.Start) -> None:
        if len(self._starting) >= _WAITING:
            waiting = self._starting.items()
            self._starting = {p: s for p, s in waiting if lib.is_leader(p)}
        self._starting[pid] = start

    def _forget(self, start: lib.Start) -> None:
        """Expect nothing of an execve that failed; another may be under way."""
        waiting = self._starting.items()
        for pid in [pid for pid, other in waiting if other is start]:
            del self._starting[pid]

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
