"""What answers the agent's calls, once something of the tree uses SGX."""

import os

from softsgx.native.notify import Listener, Notification
from softsgx.native.numbers import Call
from softsgx.runner.answers import NewFd
from softsgx.runner.calls import Calls
from softsgx.runner.debuggers import CALLS, Memory
from softsgx.runner.files import Files
from softsgx.runner.process import UserTask
from softsgx.runner.supervisor import Sgx
from softsgx.runner.tree import Tree


class Serving(Sgx):
    """One machine and the processes that use it."""

    def __init__(self, files: Files, tree: Tree, calls: Calls, memory: Memory):
        self._files = files
        self._tree = tree
        self._calls = calls
        self._memory = memory
        self.watch_fd = files.watch.fd

    @property
    def recheck_ms(self) -> int | None:
        """After how long to call `release_gone` unasked; None: not at all."""
        return self._files.watch.recheck_ms

    def answer(self, listener: Listener, call: Notification) -> None:
        """Carry out an agent's call and answer it; OSError has the errno instead."""
        result = self._carry_out(call)
        if isinstance(result, NewFd):
            listener.answer_fd(call.id, result.fd, result.flags)
            os.close(result.fd)
        else:
            listener.answer(call.id, result)

    def executed(self, pid: int) -> None:
        """Take note of an execve."""
        self._tree.executed(pid)

    def release_gone(self) -> None:
        """Release the enclaves that nobody has any more."""
        for encl in self._files.release_gone():
            self._calls.sites.forget(encl)
            self._tree.forget_enclave(encl)

    def _carry_out(self, call: Notification) -> int | NewFd:
        if call.args[0] == Call.FORKED:
            return self._tree.forked(call.tid, call.args[1])
        if call.args[0] in CALLS:
            return self._memory.carry_out(call)
        process = self._tree.of(call.tid)
        return self._calls.carry_out(
            UserTask(call.tid, process, self._files), call.args
        )
