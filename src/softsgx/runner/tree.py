"""The processes of the tree: how they come, whose memory they have, how they go."""

import errno
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace

from softsgx.driver.driver import Driver
from softsgx.driver.encl import Encl
from softsgx.driver.epc.account import Scarce
from softsgx.driver.mm import Mm, Vma
from softsgx.native import lib
from softsgx.runner.insiders import Insiders
from softsgx.runner.loop import Loop
from softsgx.runner.task.caller import Caller
from softsgx.runner.task.files import Files
from softsgx.runner.task.mappings import Mapping, mappings
from softsgx.runner.task.process import Process
from softsgx.runner.task.threads import (
    has_ended,
    is_thread_of,
    memory_mark,
    parent_of,
    pid_of,
)

_THREADS_KNOWN = 10000
"""Most threads whose process is remembered; the others are looked up again."""
_LATE_PARENTS = 1024
"""Processes that ended last, of which the mappings are remembered."""
_MOST_ALIKE = 256
"""Processes, the newest of them, that are asked whether they share memory."""


class Tree:
    """All processes that made themselves known, by pid.

    Processes that share memory, as a child of vfork with its parent, are one Process.
    """

    def __init__(self, driver: Driver, files: Files, loop: Loop, insiders: Insiders):
        self._driver = driver
        self._files = files
        self._loop = loop
        self._insiders = insiders
        self._account = driver.account()
        self._processes: dict[int, Process] = {}
        self._marked: dict[tuple[int, ...], list[Process]] = {}
        """Processes that may share memory with one of that mark."""
        self._pid_of: dict[int, int] = {}
        self._pidfds: dict[int, int] = {}
        self._heritage: dict[int, list[Vma]] = {}
        """Enclave mappings of processes that ended: a child may come to claim them."""

    def of(self, caller: Caller) -> Process:
        """Return the process of a thread; OSError(ESRCH) if it is gone."""
        tid = caller.tid
        pid = self._pid_of.get(tid)
        if pid is None or not is_thread_of(tid, pid):
            if len(self._pid_of) > _THREADS_KNOWN:
                self._pid_of.clear()
            pid = self._pid_of[tid] = pid_of(tid)
        process = self._processes.get(pid)
        if process is None:
            process = self._sharer(pid, caller)
            # Another thread of it may have come between.
            process = self._processes.get(pid) or process or Process(pid, Mm(owner=pid))
            self._add(pid, process)
        return process

    def known(self, tid: int) -> Process | None:
        """Return the process of a thread if it made itself known."""
        try:
            return self._processes.get(pid_of(tid))
        except OSError:
            return None

    def executed(self, pid: int) -> None:
        """Take note of an execve: what was known of the process is its past."""
        if pid in self._processes:
            self._end(pid)

    def forked(self, caller: Caller, parent: int) -> int:
        """Take in a child of fork, which calls, and return its pid.

        *parent* is what the child says, in its own numbers.
        """
        pid = self._pid_of[caller.tid] = pid_of(caller.tid)
        if pid in self._pidfds and has_ended(self._pidfds[pid]):
            self._ended(pid)
        relatives = [parent, *_ancestors(pid)]
        there: list[Mapping] = []
        if any(map(self._vmas_of, relatives)):
            with caller.aside():
                there = list(mappings(pid))
        if pid in self._processes:
            raise OSError(errno.EINVAL, "known already")
        process = Process(pid, Mm(owner=pid))
        known = (self._processes.get(relative) for relative in relatives)
        origin = next(filter(None, known), None)
        if origin:
            process.sites = dict(origin.sites)
        vmas = next(filter(None, map(self._vmas_of, relatives)), [])
        self._inherit(process.mm, there, vmas)
        created = {vma.encl for vma in process.mm.vmas if vma.encl.created}
        process.aliased.update({encl: encl.base for encl in created})
        for encl in created:
            # What it may do is what its parent might when it was made.
            process.mm.fall_behind(encl, encl.base, encl.end)
            encl.memory.new_era()
        self._add(pid, process)
        return pid

    def end(self) -> None:
        """Take note that its processes are gone, or no matter of ours any more."""
        for pid, fd in list(self._pidfds.items()):
            if has_ended(fd):
                self._ended(pid)
            else:
                self._unwatch(pid)
        for process in self._processes.values():
            process.membership.close()
            self._driver.mm_gone(process.mm)
        self._processes.clear()
        self._marked.clear()

    def kill(self) -> None:
        """Kill all processes."""
        for fd in self._pidfds.values():
            with suppress(OSError):
                signal.pidfd_send_signal(fd, signal.SIGKILL)

    def forget_enclave(self, encl: Encl) -> None:
        """Drop what is known of an enclave that is gone."""
        self._insiders.forget(encl)
        for pid, vmas in list(self._heritage.items()):
            left = [vma for vma in vmas if vma.encl is not encl]
            self._heritage[pid] = left
            if not left:
                del self._heritage[pid]

    # ---- relations ----

    def _sharer(self, pid: int, caller: Caller) -> Process | None:
        """Return the process whose memory another one has, its parent's most likely."""
        parent = self._processes.get(parent_of(pid))
        # Children of fork are alike too, but they do not come by here.
        alike = self._marked.get(memory_mark(pid), [])[-_MOST_ALIKE:]
        known = [one for one in (parent, *alike) if one]
        if not known:
            return None
        with caller.aside():
            same = (one for one in known if lib.same_memory(pid, one.pid))
            found = next(same, None)
        return found if found and found.pids else None

    def _vmas_of(self, pid: int) -> list[Vma]:
        process = self._processes.get(pid)
        return process.mm.vmas if process else self._heritage.get(pid, [])

    def _inherit(self, mm: Mm, there: list[Mapping], vmas: list[Vma]) -> None:
        """Copy those enclave mappings that are really *there* in the process."""
        for mapping in there:
            encl = self._files.enclave(mapping.inode) if mapping.is_memory else None
            if encl is None:
                continue
            for vma in vmas:
                start, end = max(vma.start, mapping.start), min(vma.end, mapping.end)
                if vma.encl is encl and start < end:
                    mm.add(replace(vma, start=start, end=end))

    # ---- ends ----

    def _add(self, pid: int, process: Process) -> None:
        if pid not in self._pidfds:
            self._account.take(Scarce.PROCESSES, 1, errno.EAGAIN)
            try:
                fd = os.pidfd_open(pid)
            except OSError as error:
                # It is being killed: its end needs no watch, it makes no more calls.
                self._account.give(Scarce.PROCESSES, 1)
                raise OSError(errno.ESRCH, "the process is gone") from error
            self._pidfds[pid] = fd
            self._loop.on_readable(fd, lambda: self._ended(pid))
        self._processes[pid] = process
        if not process.pids:
            process.mark = memory_mark(pid)
            self._marked.setdefault(process.mark, []).append(process)
        process.pids.add(pid)

    def _unwatch(self, pid: int) -> None:
        fd = self._pidfds.pop(pid)
        self._loop.forget(fd)
        os.close(fd)
        self._account.give(Scarce.PROCESSES, 1)

    def _ended(self, pid: int) -> None:
        self._unwatch(pid)
        self._end(pid, keep=True)
        # What is remembered of other threads is looked at again when they call.
        self._pid_of.pop(pid, None)

    def _end(self, pid: int, *, keep: bool = False) -> None:
        process = self._processes.pop(pid, None)
        if process is None:
            return
        process.pids.discard(pid)
        if process.pids:
            process.become(next(iter(process.pids)))
            return
        self._unmark(process)
        process.membership.close()
        if keep and process.mm.vmas:
            self._heritage[pid] = [replace(vma) for vma in process.mm.vmas]
            if len(self._heritage) > _LATE_PARENTS:
                del self._heritage[next(iter(self._heritage))]
        for encl in process.mm.encls:
            self._insiders.killed(encl, pid)
        self._driver.mm_gone(process.mm)

    def _unmark(self, process: Process) -> None:
        alike = self._marked[process.mark]
        alike[:] = [one for one in alike if one is not process]
        if not alike:
            del self._marked[process.mark]


def _ancestors(pid: int) -> Iterator[int]:
    while pid > 1:
        pid = parent_of(pid)
        yield pid
