"""The supervisor: answers the tree's calls until the program has ended."""

import errno
import os
from collections.abc import Callable

from softsgx.native.abi import AGENT_BASE, CALL_NR, VDSO_OFFSET, Call
from softsgx.native.notify import Listener, Notification
from softsgx.runner.answers import NewFd
from softsgx.runner.calls import Calls
from softsgx.runner.execs import EXECS, Execs
from softsgx.runner.files import Files
from softsgx.runner.loop import Loop, is_hung_up
from softsgx.runner.process import UserTask
from softsgx.runner.tree import Tree


class Supervisor:
    """One tree of processes on one machine."""

    def __init__(
        self,
        listener: Listener,
        loop: Loop,
        files: Files,
        tree: Tree,
        calls: Calls,
        execs: Execs,
    ):
        self._listener = listener
        self._loop = loop
        self._files = files
        self._tree = tree
        self._calls = calls
        self._execs = execs
        self._is_done = False
        loop.on_readable(listener.fd, self._call)
        loop.on_readable(files.watch.fd, self._release_gone)

    def serve(self, until: Callable[[], bool]) -> bool:
        """Answer calls until told; False: nobody is left who could make one."""
        while not self._is_done and not until():
            if not self._loop.turn(self._files.watch.recheck_ms):
                self._release_gone()
        return not self._is_done

    def has_callers(self) -> bool:
        """Say whether a process of the tree is left that could make a call."""
        return not is_hung_up(self._listener.fd)

    def _call(self) -> None:
        call = self._listener.receive()
        if call is None:
            self._is_done = not self.has_callers()
        elif call.nr in EXECS:
            self._execs.follow(call)
        elif call.nr == CALL_NR:
            self._our_call(call)
        else:
            self._listener.let_continue(call.id)

    def _our_call(self, call: Notification) -> None:
        if call.args[0] == Call.START:
            self._execs.start(call)
        elif call.args[0] == Call.TEXT:
            self._execs.text(call)
        elif AGENT_BASE <= call.ip < AGENT_BASE + VDSO_OFFSET:
            self._agent_call(call)
        else:
            # The program's own: Linux has no such call.
            self._listener.answer(call.id, 0, errno.ENOSYS)

    def _agent_call(self, call: Notification) -> None:
        try:
            result = self._carry_out(call)
        except OSError as error:
            self._listener.answer(call.id, 0, error.errno or errno.EIO)
            return
        if isinstance(result, NewFd):
            self._listener.answer_fd(call.id, result.fd, result.flags)
            os.close(result.fd)
        else:
            self._listener.answer(call.id, result)

    def _carry_out(self, call: Notification) -> int | NewFd:
        if call.args[0] == Call.FORKED:
            return self._tree.forked(call.tid, call.args[1])
        process = self._tree.of(call.tid)
        return self._calls.carry_out(
            UserTask(call.tid, process, self._files), call.args
        )

    def _release_gone(self) -> None:
        for encl in self._files.release_gone():
            self._calls.sites.forget(encl)
            self._tree.forget_enclave(encl)
