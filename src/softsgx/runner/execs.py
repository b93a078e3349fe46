"""execve in the tree: each program is stopped once, before its first instruction."""

import errno
from collections.abc import Callable

from softsgx.native import lib
from softsgx.native.notify import Listener, Notification
from softsgx.runner.injection import hidden_signals, with_program
from softsgx.runner.process import Process, pid_of
from softsgx.runner.sites import Sites
from softsgx.runner.tree import Tree

EXECS = frozenset({59, 322})
"""System calls: execve and execveat."""

_GONE = frozenset({errno.ESRCH, errno.ENOENT})


class Execs:
    """Puts the agent, with *config* for its data, into every program of the tree."""

    def __init__(
        self,
        listener: Listener,
        tree: Tree,
        sites: Sites,
        config: bytes,
        complain: Callable[[str], None],
    ):
        self._listener = listener
        self._tree = tree
        self._sites = sites
        self._config = config
        self._complain = complain

    def follow(self, call: Notification) -> None:
        """Let an execve happen, and put the agent into what comes of it."""
        signals = hidden_signals(call.tid)
        try:
            pid = pid_of(call.tid)
            stopped = lib.follow_exec(self._listener.fd, call.id, call.tid, pid)
        except OSError as error:
            self._refuse(call, gone=error.errno in _GONE)
            return
        if not stopped:
            return
        try:
            process = self._tree.executed(stopped)
            self._inject(process, signals)
        except OSError as error:
            if error.errno not in _GONE:
                # Without the agent the filter would kill it at its first file.
                lib.kill_traced(stopped)
                self._complain(f"pid {stopped}: cannot put the agent in: {error}")
            return
        lib.detach(stopped)

    def _refuse(self, call: Notification, *, gone: bool) -> None:
        """Without ptrace there is no agent, and without it no program can go on."""
        if not gone:
            self._complain(
                f"pid {call.tid}: execve refused, another process traces it "
                "(attach the tracer later instead)"
            )
        self._listener.answer(call.id, 0, errno.EPERM)

    def _inject(self, process: Process, signals: tuple[int, int]) -> None:
        self._sites.patch_program(process)
        config = with_program(self._config, process.sites, signals)
        try:
            lib.images().inject(process.pid, config, signals[0])
        except OSError as error:
            # A program of 32 bits goes on alone.
            if error.errno != errno.ENOEXEC:
                raise
