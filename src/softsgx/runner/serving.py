"""What answers the agent's calls, once something of the tree uses SGX."""

import os
from typing import TYPE_CHECKING, Self

from softsgx.driver.protocols import NotYetError
from softsgx.native.notify import Listener, Notification
from softsgx.native.numbers import Call
from softsgx.runner.answers import NewFd
from softsgx.runner.calls import Calls
from softsgx.runner.debuggers import CALLS, Memory
from softsgx.runner.loop import Loop
from softsgx.runner.supervisor import Sgx
from softsgx.runner.task.caller import Caller
from softsgx.runner.task.process import UserTask
from softsgx.runner.tree import Tree

if TYPE_CHECKING:
    from softsgx.runner.machinery import Machinery


class Serving(Sgx):
    """One tree of processes on a machine."""

    def __init__(
        self, machinery: "Machinery", tree: Tree, calls: Calls, memory: Memory
    ):
        self._machinery = machinery
        self._rechecks = False
        self._files = machinery.files
        self.tree = tree
        self._calls = calls
        self._memory = memory

    def alone(self, loop: Loop) -> Self:
        """Also release what nobody has any more: no other tree is on the machine."""
        self._rechecks = True
        loop.on_readable(self._files.watch.fd, self.release_gone)
        return self

    @property
    def recheck_ms(self) -> int | None:
        """After how long to call `release_gone` unasked; None: not at all."""
        return self._files.watch.recheck_ms if self._rechecks else None

    def answer(self, listener: Listener, call: Notification, caller: Caller) -> None:
        """Carry out an agent's call and answer it; OSError has the errno instead."""
        try:
            result = self._carry_out_at_last(call, caller)
        finally:
            if self._files.has_postponed:
                self.release_gone()
        if isinstance(result, NewFd):
            listener.answer_fd(call.id, result.fd, result.flags)
            os.close(result.fd)
        else:
            listener.answer(call.id, result)

    def executed(self, pid: int) -> None:
        """Take note of an execve."""
        self.tree.executed(pid)

    def release_gone(self) -> None:
        """Release the enclaves that nobody has any more."""
        self._machinery.release_gone()

    def _carry_out_at_last(self, call: Notification, caller: Caller) -> int | NewFd:
        """Carry a call out, again after each wait for what it needs."""
        while True:
            try:
                return self._carry_out(call, caller)
            except NotYetError as wait:
                with caller.aside():
                    wait.fetch()
                caller.check()

    def _carry_out(self, call: Notification, caller: Caller) -> int | NewFd:
        if call.args[0] == Call.FORKED:
            pid = self.tree.forked(caller, call.args[1])
            caller.check()
            return pid
        cgroups = self._machinery.driver.cgroups
        if call.args[0] in CALLS:
            debugger = self.tree.known(call.tid)
            cgroups.enter(debugger.membership if debugger else None)
            return self._memory.carry_out(caller, call.args)
        process = self.tree.of(caller)
        caller.check()
        cgroups.enter(process.membership)
        return self._calls.carry_out(UserTask(caller, process, self._files), call.args)
