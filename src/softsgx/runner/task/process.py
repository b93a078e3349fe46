"""Processes of the tree, as the supervisor knows them."""

import errno
import fcntl
import os
import stat
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from softsgx.driver.encl import Encl
from softsgx.driver.errnos import refuse
from softsgx.driver.mm import Mm
from softsgx.driver.protocols import Backing, EnclMemory, Source
from softsgx.driver.uapi import TASK_SIZE
from softsgx.native import lib
from softsgx.runner.backing_file import BackingFile
from softsgx.runner.task.caller import Caller
from softsgx.runner.task.cgroups import Membership
from softsgx.runner.task.files import Files
from softsgx.runner.task.mappings import Mapping, is_modified, mappings
from softsgx.runner.task.marks import marked_path
from softsgx.runner.task.threads import (
    file_limit_of,
    file_user_of,
    is_signalled,
    read_proc,
)

_READ_IMPLIES_EXEC = 0x0400000
_MOST_SAID = (1 << 31) - 1
_NOT_ANYWHERE = os.O_PATH | os.O_APPEND | os.O_DIRECT
_F_SEAL_FUTURE_WRITE = 0x10
_NO_WRITES = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | _F_SEAL_FUTURE_WRITE

Where = tuple[Encl, int, int]
"""A mapping of an enclave: from an address up to one; none where they are the same."""


@dataclass
class Process:
    """One address space of the tree and what was done to it."""

    pid: int
    mm: Mm
    pids: set[int] = field(default_factory=set)
    """The processes that have it, *pid* among them."""
    mark: tuple[int, ...] = ()
    """See `memory_mark`."""
    aliased: WeakKeyDictionary[Encl, int] = field(default_factory=WeakKeyDictionary)
    """Enclaves that the agent has a second mapping of, and their base."""
    sites: dict[int, int] = field(default_factory=dict)
    """Addresses of breakpoints outside enclaves, and what kind they are."""
    pending: dict[int, list[bytes]] = field(default_factory=dict)
    """Operations that did not fit in an answer, by thread."""
    mapping: dict[int, list[Where]] = field(default_factory=dict)
    """Where a thread's agent makes mappings of enclaves just now."""
    said: int = 0
    """How often its agents were told of mappings."""

    def __post_init__(self) -> None:
        self.membership = Membership(self.pid)

    def number(self) -> int:
        """Return the number of what is said next about its mappings: 31 bits."""
        self.said = self.said % _MOST_SAID + 1
        return self.said

    def become(self, pid: int) -> None:
        """Be another process that has the same memory: the one so far is gone."""
        self.membership.close()
        self.pid = self.mm.owner = pid
        self.membership = Membership(pid)


class UserTask:
    """The thread that made a call: its memory and its files, for the driver."""

    def __init__(self, caller: Caller, process: Process, files: Files):
        self.caller = caller
        self.tid = caller.tid
        self.process = process
        self.blocked = 0
        """Signals that the program blocks; while it waits for us, all are."""
        self._files = files
        self._maps: _Maps | None = None
        self._looked = False

    @property
    def mm(self) -> Mm:
        """The task's address space."""
        return self.process.mm

    def take_personality(self) -> None:
        """Let what follows go by the task's personality, which it may have changed."""
        try:
            text = read_proc(f"/proc/{self.tid}/personality")
        except OSError:
            text = "0"
        self.mm.read_implies_exec = bool(int(text, 16) & _READ_IMPLIES_EXEC)

    def copy_from_user(self, addr: int, size: int) -> bytes:
        """Copy bytes in; OSError(EFAULT)."""
        try:
            return self.caller.read(addr, size)
        except OSError as error:
            raise OSError(errno.EFAULT, "copy from user") from error

    def copy_to_user(self, addr: int, data: bytes) -> None:
        """Copy bytes out; OSError(EFAULT)."""
        try:
            self.caller.write(addr, data)
        except OSError as error:
            raise OSError(errno.EFAULT, "copy to user") from error

    def copy_into(self, addr: int, view: memoryview) -> bool:
        """Copy pages into zeroed enclave memory; False if not all were there."""
        return self.caller.copy_pages(addr, view) == len(view)

    def file(self, fd: int) -> object | None:
        """Return what a descriptor is open on; None if it is not open."""
        return self._files.find(self.caller, fd)

    def new_memory(self) -> EnclMemory:
        """Return memory for an enclave of isgx; ENFILE."""
        return self._files.new_memory()

    def backing(self, fd: int) -> Backing:
        """Take a regular file that the task has open for reading and writing."""
        return _backing_file(self.caller, fd)

    def wait_for(self, fetch: Callable[[], None]) -> None:
        """Do what may take long, while others come between; ESRCH: the task is gone."""
        with self.caller.aside():
            fetch()
        self.caller.check()

    def source(self, addr: int) -> Source | None:
        """Return the first mapping that ends above *addr*; None if there is none."""
        with self.caller.aside():
            if self._maps is None:
                try:
                    return _source_at(self.tid, addr)
                except OSError:
                    self._maps = _Maps(self.tid)
            return self._maps.source(addr)

    def is_modified(self, addr: int, pages: int) -> bool:
        """Say whether a private page of the task's own is among some."""
        with self.caller.aside():
            return is_modified(self.tid, addr, pages)

    def mapped(self, addr: int) -> Mapping | None:
        """Return what is mapped there: the driver knows enclaves only."""
        with self.caller.aside():
            maps = mappings(self.tid)
            return next((one for one in maps if one.start <= addr < one.end), None)

    def is_lost(self, addr: int) -> bool:
        """Say whether memory of an enclave is there that no driver knows any more."""
        if self.mm.find(addr) is not None:
            return False
        mapping = self.mapped(addr)
        return bool(mapping and marked_path(mapping.path))

    def signal_pending(self) -> bool:
        """Say whether a signal waits for the task.

        The first look of a call sees none but a kill, as if others came after it.
        """
        first, self._looked = not self._looked, True
        if not self.caller.is_waiting():
            return True
        return not first and is_signalled(self.tid, self.blocked)


def _backing_file(caller: Caller, number: int) -> BackingFile:
    """Return the program's file for evicted pages, by a descriptor of ours; EINVAL."""
    try:
        fd = caller.take_fd(number)
    except OSError as error:
        raise refuse(errno.EINVAL, f"fd {number} is not open") from error
    if not _takes_pages(fd):
        os.close(fd)
        raise refuse(errno.EINVAL, f"fd {number} is no file to read and write")
    try:
        user, limit = file_user_of(caller.tid), file_limit_of(caller.tid)
        caller.check()
    except OSError:
        os.close(fd)
        raise
    return BackingFile(fd, None if user[0] == os.geteuid() else user, limit)


def _takes_pages(fd: int) -> bool:
    """Say whether a descriptor is of a file that can be written anywhere, in pieces."""
    flags = fcntl.fcntl(fd, fcntl.F_GETFL)
    if flags & os.O_ACCMODE != os.O_RDWR or flags & _NOT_ANYWHERE:
        return False
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        return False
    try:
        return not fcntl.fcntl(fd, fcntl.F_GET_SEALS) & _NO_WRITES
    except OSError:
        return True  # no memory that can be sealed


class _Maps:
    """A process's mappings at one moment."""

    def __init__(self, pid: int):
        # The kernel's own, [vsyscall], is shown too and is no mapping of the process.
        self._maps = [one for one in mappings(pid) if one.end <= TASK_SIZE]
        self._ends = [one.end for one in self._maps]
        self._pid = pid
        self._may_exec: dict[str, bool] = {}

    def source(self, addr: int) -> Source | None:
        """Return the first mapping that ends above an address."""
        at = bisect_right(self._ends, addr)
        if at == len(self._maps):
            return None
        one = self._maps[at]
        known = self._may_exec.get(one.path)
        if known is None:
            known = not (one.is_file and _is_noexec(self._pid, one.path))
            self._may_exec[one.path] = known
        return Source(one.end, known, one.is_file, "x" in one.perms)


def _source_at(pid: int, addr: int) -> Source | None:
    """Return what is mapped at an address, by one question; OSError: none is taken."""
    if addr >= TASK_SIZE:
        return None
    try:
        end, inode, executable, path = lib.mapping_at(pid, addr)
    except FileNotFoundError:
        return None
    if end > TASK_SIZE:
        return None
    is_file = bool(inode) and path.startswith("/")
    return Source(end, not (is_file and _is_noexec(pid, path)), is_file, executable)


def _is_noexec(pid: int, path: str) -> bool:
    try:
        # The process may have a root, or mounts, of its own.
        found = os.statvfs(f"/proc/{pid}/root{path}")
        return bool(found.f_flag & os.ST_NOEXEC)
    except OSError:
        return False
