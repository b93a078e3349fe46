"""A process's userfaultfd, by which its supervisor looks after some of its page tables.

See ioctl_userfaultfd(2).  The process made it and gave it to us: it stands for that
process's address space, whoever has it.
"""

import ctypes
import errno
import fcntl
import os
import struct

_SYS_USERFAULTFD = 323
_USER_MODE_ONLY = 1

_API = 0xC018AA3F
_REGISTER = 0xC020AA00
_WRITEPROTECT = 0xC018AA06

_LINK = "anon_inode:[userfaultfd]"
_VERSION = 0xAA
_MISSING_SHMEM, _SIGBUS, _WP_SHMEM = 1 << 5, 1 << 7, 1 << 12
_FEATURES = _MISSING_SHMEM | _SIGBUS | _WP_SHMEM
_MISSING, _WP = 1, 2

_THREE = struct.Struct("=QQQ")
_FOUR = struct.Struct("=QQQQ")


def is_there() -> bool:
    """Say whether a process may make one that does what we need."""
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(_SYS_USERFAULTFD, os.O_CLOEXEC | _USER_MODE_ONLY)
    if fd < 0:
        return False
    try:
        Userfault(fd).close()
    except OSError:
        return False
    return True


def _check(fd: int) -> None:
    """Refuse anything else with EINVAL: it may take the number for another one."""
    if os.readlink(f"/proc/self/fd/{fd}") != _LINK:  # noqa: PTH115 -- no path
        raise OSError(errno.EINVAL, "no userfaultfd")


class Userfault:
    """Memory of one process whose pages are ours to take; *fd* is closed with it.

    OSError: the kernel is older than 5.19, or *fd* is something else.  Below, ESRCH
    says that the process is gone, ENOENT and EINVAL that nothing is mapped there.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        request = bytearray(_THREE.pack(_VERSION, _FEATURES, 0))
        try:
            _check(fd)
            fcntl.ioctl(fd, _API, request)
        except OSError:
            os.close(fd)
            raise

    def register(self, start: int, length: int) -> None:
        """Have an access to a hole in a range of shared memory be a SIGBUS."""
        request = bytearray(_FOUR.pack(start, length, _MISSING | _WP, 0))
        fcntl.ioctl(self.fd, _REGISTER, request)

    def write_protect(self, start: int, length: int, *, on: bool) -> None:
        """Have a write to pages of a registered range be a SIGBUS, or no more."""
        request = bytearray(_THREE.pack(start, length, int(on)))
        fcntl.ioctl(self.fd, _WRITEPROTECT, request)

    def close(self) -> None:
        """Let go of it."""
        os.close(self.fd)
