"""Open files of the device nodes: what stands behind a descriptor of the program.

The program has an empty memfd open that nobody can write, a door.  Its inode tells the
file, whatever became of the descriptor: dup, fork, a socket.  An enclave's memory is
another memfd, which the program has mapped and never open.  See decision record 51.
"""

import errno
import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from softsgx.driver.device import ENCLAVE, ISGX, PROVISION, VEPC, File, Isgx
from softsgx.driver.driver import Driver
from softsgx.driver.encl import Encl
from softsgx.driver.epc.account import Account, Scarce
from softsgx.native.loss import lose_power
from softsgx.native.memory import SharedMemory, Watch
from softsgx.runner.task.caller import Caller
from softsgx.runner.task.marks import mark_memory, marked_path

_UNKNOWN = object()

Inherit = Callable[[str, int], Callable[[], None]]
"""Has somebody else keep a descriptor for the time after us; returns what ends that."""


def _nothing() -> None:
    pass


def nobody(kind: str, fd: int) -> Callable[[], None]:
    """Have nobody keep it: with us, all is over."""
    del kind, fd
    return _nothing


_MOMENT_S = 0.002
_MOST_OPEN = 1 << 14
"""Each has a mapping of ours, of which the kernel gives 65530."""


@dataclass(eq=False)
class OpenFile:
    """One open of a node, or an enclave of isgx, which has no door."""

    file: File
    door: SharedMemory | None
    memory: SharedMemory | None
    disinherit: Callable[[], None]
    account: Account

    @property
    def parts(self) -> list[SharedMemory]:
        """What is there while anybody has it open or mapped."""
        return [part for part in (self.door, self.memory) if part]


class Files:
    """All open files of the tree, by the inode behind them."""

    def __init__(self, driver: Driver, inherit: Inherit = nobody):
        self._driver = driver
        self.inherit = inherit
        self._by_inode: dict[int, OpenFile] = {}
        self.watch = Watch()
        driver.leaving = self._leaving
        self._postponed: list[SharedMemory] = []
        probe = SharedMemory("softsgx")
        self.device = probe.device
        probe.close()

    def open_enclave(self, flags: int) -> int:
        """Open /dev/sgx_enclave: a new enclave.  Returns our descriptor; ENFILE."""
        memory = self._new_memory(ENCLAVE)
        return self._open(ENCLAVE, self._driver.open(memory, flags), memory, flags)

    def open_provision(self, flags: int) -> int:
        """Open /dev/sgx_provision; ENFILE."""
        self._check_room()
        return self._open(PROVISION, self._driver.open_provision(), None, flags)

    def open_isgx(self, flags: int) -> int:
        """Open /dev/isgx; ENFILE."""
        memory = self.new_memory()
        return self._open(ISGX, self._driver.open_isgx(memory, flags), memory, flags)

    def open_vepc(self, flags: int) -> int:
        """Open /dev/sgx_vepc; ENFILE."""
        memory = self._new_memory(VEPC)
        return self._open(VEPC, self._driver.open_vepc(memory, flags), memory, flags)

    def new_memory(self) -> SharedMemory:
        """Return memory of isgx that is nobody's yet; ENFILE."""
        return self._new_memory(ISGX)

    def adopt(self, encl: Encl) -> None:
        """Take in an enclave that was made in such memory."""
        try:
            self._opened(encl, None, _memory_of(encl))
        except OSError:
            self._driver.release(encl)
            raise

    def open_memory(self, file: File) -> int:
        """Return a descriptor of ours by which the program maps an enclave's memory."""
        encl = file.blank if isinstance(file, Isgx) else file
        return _memory_of(encl).reopen(os.O_RDWR)

    def has(self, encl: Encl) -> bool:
        """Say whether an enclave's memory is an open file."""
        memory = encl.memory
        return isinstance(memory, SharedMemory) and memory.inode in self._by_inode

    def _new_memory(self, name: str) -> SharedMemory:
        self._check_room()
        return SharedMemory(mark_memory(f"/dev/{name}"))

    def _check_room(self) -> None:
        """Keep half of our descriptors for the processes that will come."""
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        if len(self._by_inode) >= min(limit // 2, 2 * _MOST_OPEN):
            raise OSError(errno.ENFILE, "too many open enclaves")

    def _open(
        self, name: str, file: File, memory: SharedMemory | None, flags: int
    ) -> int:
        """Make a door for the program and return our descriptor of it."""
        try:
            door = SharedMemory(mark_memory(f"/dev/{name}"))
            fd = _opened_door(door, flags)
        except OSError:
            if memory:
                memory.close()
            raise
        try:
            self._opened(file, door, memory)
        except OSError:
            os.close(fd)
            raise
        return fd

    def _opened(
        self, file: File, door: SharedMemory | None, memory: SharedMemory | None
    ) -> None:
        """Have it, until nobody else has any of its parts; OSError: it is closed."""
        entry = OpenFile(file, door, memory, _nothing, self._driver.account())
        try:
            entry.account.take(Scarce.OPENS, 1, errno.ENFILE)
            try:
                self.watch.add(*entry.parts)
            except OSError:
                entry.account.give(Scarce.OPENS, 1)
                raise
        except OSError:
            for part in entry.parts:
                part.close()
            raise
        if memory:
            entry.disinherit = self.inherit("enclave", memory.fd)
        self._by_inode.update({part.inode: entry for part in entry.parts})

    def _leaving(self) -> Callable[[], None] | None:
        return partial(time.sleep, _MOMENT_S) if self.watch.has_news() else None

    def find(self, caller: Caller, fd: int) -> object | None:
        """Return the file behind a thread's descriptor; None if it is not open."""
        try:
            status = caller.stat_fd(fd)
        except OSError:
            return None
        entry = self._by_inode.get(status.st_ino)
        if entry is None or status.st_dev != self.device:
            return _UNKNOWN
        return entry.file

    def is_lost(self, caller: Caller, fd: int) -> bool:
        """Say whether a file that is none of these was a device's, before a loss."""
        link = caller.link_of_fd(fd)
        return bool(link and marked_path(link))

    def lose_power(self) -> None:
        """Let nobody enter an enclave any more, and who is inside leave it."""
        for entry in self._entries():
            if entry.memory:
                lose_power(entry.memory.fd)

    def close(self) -> None:
        """Give back all descriptors; who has the files open keeps them."""
        for entry in self._entries():
            entry.account.give(Scarce.OPENS, 1)
            if isinstance(entry.file, Encl):
                entry.file.lose()
            for part in entry.parts:
                part.close()
        self._by_inode.clear()
        os.close(self.watch.fd)

    def enclave(self, inode: int) -> Encl | None:
        """Return the enclave whose memory is the file of that inode."""
        entry = self._by_inode.get(inode)
        return entry.file if entry and isinstance(entry.file, Encl) else None

    @property
    def has_postponed(self) -> bool:
        """Whether an enclave was left without a descriptor in the midst of an ioctl."""
        return bool(self._postponed)

    def release_gone(self) -> list[Encl]:
        """Release, and return, enclaves whose last descriptor and mapping are gone.

        An ioctl under way has the file, as on Linux: its end comes first.
        """
        gone = []
        found, self._postponed = [*self._postponed, *self.watch.gone()], []
        for memory in found:
            entry = self._by_inode[memory.inode]
            if isinstance(entry.file, Encl) and entry.file.busy:
                self._postponed.append(memory)
                continue
            for part in entry.parts:
                del self._by_inode[part.inode]
            entry.disinherit()
            entry.account.give(Scarce.OPENS, 1)
            if isinstance(entry.file, Encl):
                self._driver.release(entry.file)
                gone.append(entry.file)
            for part in entry.parts:
                part.close()
        return gone

    def _entries(self) -> set[OpenFile]:
        return set(self._by_inode.values())


def _memory_of(file: File) -> SharedMemory:
    memory = file.memory if isinstance(file, Encl) else None
    if not isinstance(memory, SharedMemory):
        raise TypeError("memory that is none of ours")
    return memory


def _opened_door(door: SharedMemory, flags: int) -> int:
    """Open what the program holds in place of a device: empty, and so it stays."""
    try:
        door.keep_empty()
        return door.reopen(flags & os.O_ACCMODE)
    except OSError:
        door.close()
        raise
