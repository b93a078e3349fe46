"""Enclave memory: a memfd that the supervisor and the program map, and its watch."""

import ctypes
import errno
import fcntl
import mmap
import os
import struct
from functools import cache

from softsgx.arch.addr import PAGE_SHIFT, PAGE_SIZE

WORD_SIZE = 2
"""Bytes of an EPCM state word, as shown to the agent behind the enclave's pages."""

_FALLOC_FL_KEEP_SIZE = 1
_FALLOC_FL_PUNCH_HOLE = 2
_IN_OPEN = 0x20
_IN_CLOSE = 0x08 | 0x10
_EVENT = struct.Struct("iIII")
_NAME = "sgx_enclave"


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


class SharedMemory:
    """The bytes of one enclave, offset = address - base, then its EPCM words."""

    def __init__(self) -> None:
        self.fd = os.memfd_create(_NAME, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        status = os.fstat(self.fd)
        self.inode = status.st_ino
        self.device = status.st_dev
        self._size = 0
        self._map: mmap.mmap | None = None
        self._view = memoryview(b"")

    def resize(self, size: int) -> None:
        """Make it *size* bytes of zeros; from then on the program cannot cut it."""
        words = (size >> PAGE_SHIFT) * WORD_SIZE
        whole = -(-(size + words) // PAGE_SIZE) * PAGE_SIZE
        os.ftruncate(self.fd, 0)
        os.ftruncate(self.fd, whole)
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        fcntl.fcntl(self.fd, fcntl.F_ADD_SEALS, seals)
        if os.fstat(self.fd).st_size != whole:
            raise OSError(errno.EIO, "the enclave's memory was cut while it was made")
        self._map = mmap.mmap(
            self.fd, whole, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE
        )
        self._view = memoryview(self._map)
        self._size = size

    def view(self) -> memoryview:
        """Return the enclave's pages, writable."""
        return self._view[: self._size]

    def zap(self, offset: int, length: int) -> None:
        """Make a range read zero and give its memory back."""
        mode = _FALLOC_FL_PUNCH_HOLE | _FALLOC_FL_KEEP_SIZE
        _checked(_libc().fallocate(self.fd, mode, offset, length))

    def publish(self, page: int, words: bytes) -> None:
        """Show EPCM state words from page number *page* on."""
        at = self._size + page * WORD_SIZE
        self._view[at : at + len(words)] = words

    def reopen(self, flags: int) -> int:
        """Open it once more, as the program asked: a file description of its own."""
        return os.open(f"/proc/self/fd/{self.fd}", flags | os.O_CLOEXEC)

    def close(self) -> None:
        """Give it up; what other views of it still exist keep the mapping alive."""
        self._view = memoryview(b"")
        self._map = None
        os.close(self.fd)


class Watch:
    """Tells when the last descriptor and mapping of a file description are gone."""

    def __init__(self) -> None:
        self.fd = _checked(_libc().inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        self._opens: dict[int, int] = {}

    def add(self, memory: SharedMemory) -> int:
        """Watch before the first reopen; return the watch's number."""
        path = f"/proc/self/fd/{memory.fd}".encode()
        number = _libc().inotify_add_watch(self.fd, path, _IN_OPEN | _IN_CLOSE)
        self._opens[_checked(number)] = 0
        return int(number)

    def gone(self) -> list[int]:
        """Return the numbers whose last open file description was closed."""
        gone = []
        try:
            raw = os.read(self.fd, 1 << 16)
        except BlockingIOError:
            return []
        at = 0
        while at < len(raw):
            number, mask, _, length = _EVENT.unpack_from(raw, at)
            at += _EVENT.size + length
            if number not in self._opens:
                continue
            self._opens[number] += 1 if mask & _IN_OPEN else -1
            if self._opens[number] <= 0 and mask & _IN_CLOSE:
                del self._opens[number]
                _libc().inotify_rm_watch(self.fd, number)
                gone.append(number)
        return gone
