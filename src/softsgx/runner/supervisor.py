"""The supervisor: answers the tree's calls until the program has ended."""

import errno
import os
import select
from collections.abc import Callable

from softsgx.driver.driver import Driver
from softsgx.driver.mm import Mm
from softsgx.native import lib
from softsgx.native.abi import CALL_NR, Call
from softsgx.native.notify import Listener, Notification
from softsgx.runner.calls import Calls, NewFd
from softsgx.runner.files import Files
from softsgx.runner.injection import with_sites
from softsgx.runner.process import (
    Process,
    UserTask,
    fresh_mm,
    is_thread_of,
    parent_of,
    pid_of,
)
from softsgx.runner.sites import Sites

_EXECVE, _EXECVEAT = 59, 322
_GONE = frozenset({errno.ESRCH, errno.ENOENT})


class Supervisor:
    """One tree of processes on one machine."""

    def __init__(  # noqa: PLR0913 -- the rooms it connects
        self,
        listener: Listener,
        driver: Driver,
        files: Files,
        calls: Calls,
        sites: Sites,
        config: bytes,
        complain: Callable[[str], None],
    ):
        self._listener = listener
        self._driver = driver
        self._files = files
        self._calls = calls
        self._sites = sites
        self._config = config
        self._complain = complain
        self._processes: dict[int, Process] = {}
        self._pid_of: dict[int, int] = {}
        self._poll = select.poll()
        self._others: dict[int, Callable[[], None]] = {}
        self.on_readable(files.watch.fd, self._release_gone)
        self._poll.register(listener.fd, select.POLLIN)

    def on_readable(self, fd: int, do: Callable[[], None]) -> None:
        """Have something done whenever a descriptor is readable."""
        self._others[fd] = do
        self._poll.register(fd, select.POLLIN)

    def forget(self, fd: int) -> None:
        """Wait for a descriptor no more."""
        self._poll.unregister(fd)
        del self._others[fd]

    def serve(self, until: Callable[[], bool]) -> bool:
        """Answer calls until told; False: nobody is left who could make one."""
        while not until():
            for fd, events in self._poll.poll():
                if fd != self._listener.fd:
                    self._others[fd]()
                elif events & select.POLLIN:
                    self._serve_one()
                elif events & select.POLLHUP:
                    self._poll.unregister(fd)
                    return False
        return True

    def has_callers(self) -> bool:
        """Say whether a process of the tree is left that could make a call."""
        poll = select.poll()
        poll.register(self._listener.fd, 0)
        return not poll.poll(0)

    # ---- calls ----

    def _serve_one(self) -> None:
        call = self._listener.receive()
        if call is None:
            return
        if call.nr in (_EXECVE, _EXECVEAT):
            self._execve(call)
        elif call.nr == CALL_NR:
            self._agent_call(call)
        else:
            self._listener.let_continue(call.id)

    def _agent_call(self, call: Notification) -> None:
        try:
            if call.args[0] == Call.FORKED:
                self._forked(call.tid, call.args[1])
                result: int | NewFd = 0
            else:
                process = self._process_of(call.tid)
                task = UserTask(call.tid, process, self._files)
                result = self._calls.carry_out(task, call.args)
        except OSError as error:
            self._listener.answer(call.id, 0, error.errno or errno.EIO)
            return
        if isinstance(result, NewFd):
            self._listener.answer_fd(call.id, result.fd, result.flags)
            os.close(result.fd)
        else:
            self._listener.answer(call.id, result)

    # ---- processes ----

    def _process_of(self, tid: int) -> Process:
        pid = self._pid_of.get(tid)
        if pid is None or not is_thread_of(tid, pid):
            pid = self._pid_of[tid] = pid_of(tid)
        process = self._processes.get(pid)
        if process is None:
            process = self._adopt(pid)
        return process

    def _adopt(self, pid: int) -> Process:
        """Make the acquaintance of a process that neither forked nor executed.

        It is a child of vfork, which lives in its parent's address space.
        """
        parent = self._processes.get(parent_of(pid))
        process = parent or Process(pid, fresh_mm(pid))
        self._processes[pid] = process
        self._watch_end(pid)
        return process

    def _forked(self, tid: int, parent: int) -> None:
        """A child of fork: its address space is a copy of its parent's."""
        pid = self._pid_of[tid] = pid_of(tid)
        self._end(pid)
        origin = self._processes.get(parent)
        if origin is None or parent != parent_of(pid):
            origin = origin or self._processes.get(parent_of(pid))
        mm = origin.mm.fork() if origin else fresh_mm(pid)
        process = Process(pid, mm)
        if origin:
            process.aliased = dict(origin.aliased)
            process.sites = dict(origin.sites)
        self._processes[pid] = process
        self._watch_end(pid)

    def _watch_end(self, pid: int) -> None:
        try:
            fd = os.pidfd_open(pid)
        except OSError:
            return

        def ended() -> None:
            self.forget(fd)
            os.close(fd)
            self._end(pid)

        self.on_readable(fd, ended)

    def _end(self, pid: int) -> None:
        process = self._processes.pop(pid, None)
        if process is None or process in self._processes.values():
            return
        self._drop_mm(process.mm)

    def _drop_mm(self, mm: Mm) -> None:
        self._driver.mm_gone(mm)

    def _release_gone(self) -> None:
        for encl in self._files.release_gone():
            self._sites.forget(encl)
            for process in self._processes.values():
                process.aliased.pop(encl, None)

    # ---- execve ----

    def _execve(self, call: Notification) -> None:
        try:
            pid = pid_of(call.tid)
            stopped = lib.follow_exec(self._listener.fd, call.id, call.tid, pid)
        except OSError as error:
            if error.errno not in _GONE:
                self._refuse_execve(call)
            return
        if not stopped:
            return
        self._pid_of.pop(call.tid, None)
        self._end(stopped)
        process = Process(stopped, fresh_mm(stopped))
        self._processes[stopped] = process
        self._inject(process)

    def _refuse_execve(self, call: Notification) -> None:
        """Without ptrace there is no agent, and without it no program can go on."""
        self._complain(
            f"pid {call.tid}: execve refused, another process traces it "
            "(attach the tracer later instead)"
        )
        self._listener.answer(call.id, 0, errno.EPERM)

    def _inject(self, process: Process) -> None:
        try:
            self._sites.patch_program(process)
            config = with_sites(self._config, process.sites)
            lib.images().inject(process.pid, config)
        except OSError as error:
            if error.errno in _GONE:
                return
            if error.errno != errno.ENOEXEC:
                # Without the agent the filter would kill it at its first file.
                lib.kill_traced(process.pid)
                raise
        else:
            self._watch_end(process.pid)
        lib.detach(process.pid)
