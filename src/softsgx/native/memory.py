"""Enclave memory: a memfd that the supervisor and the program map, and its watch."""

import ctypes
import errno
import fcntl
import mmap
import os
import select
import signal
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

from softsgx.arch.addr import PAGE_SHIFT, PAGE_SIZE
from softsgx.native.abi import Tally, packer
from softsgx.native.backing import BackingStore, write_all

WORD_SIZE = 2
"""Bytes of an EPCM state word, as shown to the agent behind the enclave's pages."""

_, _TALLY = packer(Tally)
_ERA_AT = packer(Tally, "era")[0]
_ERA = 4
"""Which field of a Tally it is."""
_U32 = (1 << 32) - 1

_FALLOC_FL_KEEP_SIZE = 1
_FALLOC_FL_PUNCH_HOLE = 2
_IN_CLOSE = 0x08 | 0x10
_TOO_MANY = (
    "too many open files or inotify instances: raise the sysctl "
    "fs.inotify.max_user_instances, of which each run takes one, or `ulimit -n`"
)
_LOST_EVENTS = -1
_RECHECKS = 10
_EVENT = struct.Struct("iIII")
_OF_ITS_SIZE = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
_UNCHANGED = _OF_ITS_SIZE | fcntl.F_SEAL_WRITE


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.fallocate.argtypes = (
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_long,
        ctypes.c_long,
    )
    return libc


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _whole_pages(size: int) -> int:
    return -(-size // PAGE_SIZE) * PAGE_SIZE


def _punch(fd: int, offset: int, length: int) -> int:
    mode = _FALLOC_FL_PUNCH_HOLE | _FALLOC_FL_KEEP_SIZE
    result: int = _libc().fallocate(fd, mode, offset, length)
    return result


class SharedMemory:
    """The bytes of one enclave, offset = address - base, then its EPCM words.

    Behind them, from a new page on, agents count: a Tally for each page.
    """

    def __init__(self, name: str) -> None:
        first = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            # The kernel counts who writes by opens, and memfd_create is none.
            self.fd = os.open(f"/proc/self/fd/{first}", os.O_RDWR | os.O_CLOEXEC)
        finally:
            os.close(first)
        # Whoever opens it in the moment of `is_alone` must not send us a SIGIO.
        fcntl.fcntl(self.fd, fcntl.F_SETSIG, signal.SIGURG)
        status = os.fstat(self.fd)
        self.inode = status.st_ino
        self.device = status.st_dev
        self._size = self._tallies = 0
        self._map: mmap.mmap | None = None
        self._view = memoryview(b"")

    def resize(self, size: int) -> None:
        """Make it *size* bytes of zeros; from then on the program cannot cut it."""
        pages = size >> PAGE_SHIFT
        tallies = _whole_pages(size + pages * WORD_SIZE)
        whole = _whole_pages(tallies + pages * Tally.SIZE)
        os.ftruncate(self.fd, 0)
        os.ftruncate(self.fd, whole)
        # What may fail comes before the seals: then it can be tried again.
        mapped = mmap.mmap(
            self.fd, whole, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE
        )
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, _OF_ITS_SIZE)
        if os.fstat(self.fd).st_size != whole:
            raise OSError(errno.EIO, "the enclave's memory was cut while it was made")
        self._map = mapped
        self._view = memoryview(self._map)
        self._size = size
        self._tallies = tallies

    def view(self) -> memoryview:
        """Return the enclave's pages, writable."""
        return self._view[: self._size]

    def seal(self, content: bytes, mode: int) -> None:
        """Give it a content and permission bits; then nobody can change the content."""
        os.pwrite(self.fd, content, 0)
        os.fchmod(self.fd, mode)
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, _UNCHANGED)

    def keep_empty(self) -> None:
        """Let it have no content, ever; who writes to it is refused with EPERM."""
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, _OF_ITS_SIZE)

    def zap(self, offset: int, length: int) -> None:
        """Make a range read zero and give its memory back."""
        _checked(_punch(self.fd, offset, length))

    def put(self, offset: int, pieces: Sequence[bytes]) -> None:
        """Write whole pages: they need not be made pages of zeros first; OSError."""
        write_all(self.fd, offset, pieces)

    def populate(self, offset: int, length: int) -> None:
        """See that no page of a range is a hole: a read of one makes it a page."""
        for at in range(offset, offset + length, PAGE_SIZE):
            self._view[at]

    def backing(self) -> BackingStore:
        """Make memory for evicted pages."""
        return BackingStore(os.memfd_create("softsgx backing", os.MFD_CLOEXEC))

    def publish(self, page: int, words: bytes) -> None:
        """Show EPCM state words from page number *page* on."""
        at = self._size + page * WORD_SIZE
        self._view[at : at + len(words)] = words

    def tally(self, page: int) -> tuple[int, ...]:
        """Return the Tally of page number *page*, which may say anything."""
        counted: tuple[int, ...] = _TALLY.unpack_from(
            self._view, self._tallies + page * Tally.SIZE
        )
        return counted

    def new_era(self) -> None:
        """Have agents ask before they let a thread in natively."""
        era = self.tally(0)[_ERA] + 1 & _U32
        at = self._tallies + _ERA_AT
        self._view[at : at + 4] = era.to_bytes(4, "little")

    def reopen(self, flags: int) -> int:
        """Open it once more, as the program asked: a file description of its own."""
        return os.open(f"/proc/self/fd/{self.fd}", flags | os.O_CLOEXEC)

    @property
    def place(self) -> tuple[int, int]:
        """The device and the inode, which no other file has while it is open."""
        return self.device, self.inode

    def is_alone(self) -> bool:
        """Say whether nobody else has it open, mapped, or on its way in a socket."""
        try:
            fcntl.fcntl(self.fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
        except OSError:
            return False
        fcntl.fcntl(self.fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return True

    def close(self) -> None:
        """Give it up; what other views of it still exist keep the mapping alive."""
        self._view = memoryview(b"")
        self._map = None
        os.close(self.fd)


def sealed(name: str, content: bytes) -> int:
    """Return a descriptor, to read, of memory with a content that nobody can change."""
    kind = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    with os.fdopen(os.memfd_create(name, kind), "wb") as file:
        file.write(content)
        file.flush()
        os.fchmod(file.fileno(), 0o444)
        fcntl.fcntl(file.fileno(), fcntl.F_ADD_SEALS, _UNCHANGED)
        return os.open(f"/proc/self/fd/{file.fileno()}", os.O_RDONLY | os.O_CLOEXEC)


def inotify() -> int:
    """Make a descriptor of inotify; EMFILE, which says what to raise."""
    try:
        return _checked(_libc().inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        if error.errno != errno.EMFILE:
            raise
        raise OSError(error.errno, _TOO_MANY) from None


@dataclass(eq=False)
class _Watched:
    """What is watched as one, and the numbers of its watches."""

    memories: tuple[SharedMemory, ...]
    numbers: list[int] = field(default_factory=list)

    def is_alone(self) -> bool:
        """Say whether nobody else has any of it."""
        return all(memory.is_alone() for memory in self.memories)


class Watch:
    """Tells when the last descriptor and mapping of enclave memory are gone.

    inotify says that a file description was closed, a lease whether it was the last.
    """

    def __init__(self) -> None:
        self.fd = inotify()
        self._watched: dict[int, _Watched] = {}
        self._suspects: set[int] = set()
        self._rechecks = 0

    def add(self, *memories: SharedMemory) -> None:
        """Watch them, as one, now that somebody else has one of them open."""
        watched = _Watched(memories)
        try:
            for memory in memories:
                path = f"/proc/self/fd/{memory.fd}".encode()
                number = _libc().inotify_add_watch(self.fd, path, _IN_CLOSE)
                watched.numbers.append(_checked(number))
        except OSError:
            self._forget(watched)
            raise
        self._watched.update(dict.fromkeys(watched.numbers, watched))

    @property
    def recheck_ms(self) -> int | None:
        """After how long to call `gone` again, unasked; None: not at all."""
        return 1 << self._rechecks if self._suspects else None

    def has_news(self) -> bool:
        """Say whether something may be gone that `gone` has not told."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        return bool(self._suspects or poll.poll(0))

    def gone(self) -> list[SharedMemory]:
        """Return what nobody else has any more: the first of those watched as one."""
        closed = self._closed()
        self._rechecks = 0 if closed else self._rechecks + 1
        self._suspects |= closed
        suspects = {self._watched[number] for number in self._suspects}
        found = [watched for watched in suspects if watched.is_alone()]
        # The kernel tells of a close shortly before it counts it: ask again soon.
        for watched in found:
            self._suspects.difference_update(watched.numbers)
            self._forget(watched)
        if self._rechecks == _RECHECKS:
            self._suspects.clear()
        return [watched.memories[0] for watched in found]

    def _forget(self, watched: _Watched) -> None:
        for number in watched.numbers:
            _libc().inotify_rm_watch(self.fd, number)
            self._watched.pop(number, None)

    def _closed(self) -> set[int]:
        """Return the numbers of the watches that a file was closed under."""
        closed: set[int] = set()
        try:
            raw = os.read(self.fd, 1 << 16)
        except BlockingIOError:
            return closed
        at = 0
        while at < len(raw):
            number, _, _, length = _EVENT.unpack_from(raw, at)
            at += _EVENT.size + length
            closed |= set(self._watched) if number == _LOST_EVENTS else {number}
        return closed & self._watched.keys()
