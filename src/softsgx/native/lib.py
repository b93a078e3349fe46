"""System calls that Python has no words for, from `libsoftsgx.so`.

Every function raises OSError with the errno of the call that failed.
"""

import ctypes
import errno
import os

from softsgx.native.images import images
from softsgx.native.library import checked, library

TYPE_CHECKING = False
if TYPE_CHECKING:  # what takes long to import is not, here
    from collections.abc import Sequence

_SECINFO_MEASURED = 48


class _Image(ctypes.Structure):
    _fields_ = (
        ("agent", ctypes.c_char_p),
        ("vdso", ctypes.c_char_p),
        ("config", ctypes.c_char_p),
        ("agent_size", ctypes.c_uint64),
        ("vdso_size", ctypes.c_uint64),
        ("config_size", ctypes.c_uint64),
        ("data", ctypes.c_uint64),
        ("vdso_slots", ctypes.c_uint64),
        ("bare", ctypes.c_void_p),
        ("nr_bare", ctypes.c_uint64),
    )


class Start(ctypes.Structure):
    """A new program, from its execve to its first instruction.

    *error*: ENOEXEC if it goes on without an agent, another if it was killed.
    """

    _fields_ = (
        ("rip", ctypes.c_uint64),
        ("rsp", ctypes.c_uint64),
        ("mask", ctypes.c_uint64),
        ("blocked", ctypes.c_uint64),
        ("pending", ctypes.c_uint64),
        ("filtered", ctypes.c_uint64),
        ("code", ctypes.c_uint64 * 4),
        ("pid", ctypes.c_int32),
        ("error", ctypes.c_int32),
    )


_U64 = ctypes.c_uint64

Waits = tuple[int, int]
"""A listener, and the number of the call in which a thread waits for our answer."""

NOBODY: Waits = (-1, 0)
"""In place of that: the number of the thread is believed."""


def waits(call: Waits) -> bool:
    """Say whether the thread still waits; if not, its number may be another's."""
    return bool(library().softsgx_waits(*call))


def read(pid: int, address: int, size: int, by: Waits = NOBODY) -> bytes:
    """Copy *size* bytes out of a process; EFAULT unless all of them are there.

    Here and below: ESRCH if the thread that waits *by* a call does so no more.
    """
    buffer = ctypes.create_string_buffer(size)
    got = library().softsgx_read(*by, pid, address, buffer, size)
    if got != size:
        checked(min(got, 0) or -14, "read")
    return buffer.raw


def write(pid: int, address: int, data: bytes, by: Waits = NOBODY) -> None:
    """Copy bytes into a process; EFAULT unless all of them went."""
    done = library().softsgx_write(*by, pid, address, data, len(data))
    if done != len(data):
        checked(min(done, 0) or -14, "write")


def copy_pages(pid: int, address: int, to: memoryview, by: Waits = NOBODY) -> int:
    """Copy pages into zeroed memory, leaving zero pages out; return bytes copied."""
    target = (ctypes.c_char * len(to)).from_buffer(to)
    done: int = library().softsgx_copy_pages(*by, pid, address, target, len(to))
    return max(done, 0)


def lay_out(stream: bytearray, offset: int, secinfo: bytes, pages: memoryview) -> int:
    """Lay out pages for the hash, as machine.measurement.lay_out does, but faster.

    *pages* are writable memory of ours; ValueError if *stream* is too short.
    """
    size = pages.nbytes
    # Imported where enclaves are: a start has other things to do.
    from softsgx.arch.addr import PAGE_SIZE  # noqa: PLC0415 -- see above
    from softsgx.machine.measurement import PAGE_STREAM_SIZE  # noqa: PLC0415 -- see above

    if size % PAGE_SIZE or len(secinfo) < _SECINFO_MEASURED:
        raise ValueError("not whole pages, or no SECINFO")
    if len(stream) < size // PAGE_SIZE * PAGE_STREAM_SIZE:
        raise ValueError("the stream is too short")
    to = (ctypes.c_char * len(stream)).from_buffer(stream)
    data = (ctypes.c_char * size).from_buffer(pages)
    filled: int = library().softsgx_lay_out(to, offset, secinfo, data, size)
    return filled


def take_fd(pid: int, number: int) -> int:
    """Return a descriptor of ours for what a process has open by that number."""
    return checked(library().softsgx_take_fd(pid, number), "pidfd_getfd")


def poke(pid: int, address: int, byte: int, by: Waits = NOBODY) -> None:
    """Write one byte into a process, through its protections, as a debugger does."""
    checked(library().softsgx_poke(*by, pid, address, byte), "poke")


def rewrite_cpuid(
    pid: int, addresses: list[int], byte: int, by: Waits = NOBODY
) -> list[int]:
    """Put a byte over CPUIDs; return the addresses where there was one."""
    places = (ctypes.c_uint64 * len(addresses))(*addresses)
    count = len(addresses)
    checked(library().softsgx_rewrite_cpuid(*by, pid, places, count, byte), "rewrite")
    return [address for address in places if address]


def xcr0() -> int:
    """Return the extended state components that the kernel enabled, as a mask."""
    mask: int = library().softsgx_xcr0()
    return mask


def tsc_khz() -> int:
    """Return what the time stamp counter counts in a millisecond; takes some ms."""
    khz: int = library().softsgx_tsc_khz()
    return khz


def cpuid(leaf: int, subleaf: int) -> tuple[int, int, int, int]:
    """Return what the machine's own CPUID says: EAX, EBX, ECX, EDX."""
    regs = (ctypes.c_uint32 * 4)()
    library().softsgx_cpuid(leaf, subleaf, regs)
    return regs[0], regs[1], regs[2], regs[3]


def act_as(uid: int, gid: int) -> None:
    """Have this thread use files as a user does: his quotas hold, and no reserve."""
    checked(library().softsgx_act_as(uid, gid), "capset")


def same_memory(one: int, other: int) -> bool:
    """Say whether two processes live in one address space, as after vfork."""
    return bool(library().softsgx_same_memory(one, other))


def launch(path: str, argv: list[str], environ: list[bytes]) -> tuple[int, int, int]:
    """Start a program under the filter: its pid, the listener, an error pipe."""
    args = _strings([os.fsencode(arg) for arg in argv])
    fds = (ctypes.c_int * 2)()
    pid = library().softsgx_launch(os.fsencode(path), args, _strings(environ), fds)
    return checked(pid, path), fds[0], fds[1]


def adopt(pid: int) -> None:
    """Have a program that was launched before this process executed Python."""
    library().softsgx_adopt(pid)


def _strings(items: list[bytes]) -> "ctypes.Array[ctypes.c_char_p]":
    return (ctypes.c_char_p * (len(items) + 1))(*items, None)


class _Mapping(ctypes.Structure):
    _fields_ = (
        ("start", _U64),
        ("end", _U64),
        ("offset", _U64),
        ("inode", _U64),
        ("path", ctypes.c_char * 512),
    )


_MAX_CODE = 32
_Found = _Mapping * _MAX_CODE


def code_mappings(pid: int) -> list[tuple[int, int, int, int, str]]:
    """Return start, end, offset, inode and path of executable mappings of files.

    OSError, ENOTTY where the kernel cannot say, and E2BIG if there are too many.
    """
    found = _Found()
    n = library().softsgx_code_mappings(pid, found, _MAX_CODE)
    if checked(n, "mappings") == _MAX_CODE:
        raise OSError(errno.E2BIG, os.strerror(errno.E2BIG))
    return [
        (one.start, one.end, one.offset, one.inode, os.fsdecode(one.path))
        for one in found[:n]
    ]


def mapping_at(pid: int, addr: int) -> tuple[int, int, bool, str]:
    """Return end, inode, whether it is executable and path of a mapping.

    The first that ends above *addr*.  OSError, ENOENT if there is none, ENOTTY where
    the kernel cannot say.
    """
    one = _Mapping()
    executable = library().softsgx_mapping_at(pid, addr, ctypes.addressof(one))
    checked(executable, "mappings")
    return one.end, one.inode, bool(executable), os.fsdecode(one.path)


def is_leader(tid: int) -> bool:
    """Say whether a thread is its process's first: its number is the process's."""
    return bool(library().softsgx_is_leader(tid))


def wait_child(pid: int) -> int | None:
    """Return the wait status of the main child, if there is news."""
    status: int = library().softsgx_wait_child(pid)
    return None if status == -1 else status


class Injector:
    """Puts the agent, with *config* at the head of its data, into new programs."""

    def __init__(self, config: bytes) -> None:
        self.config = config
        known = images()
        self._image = _Image(
            agent=known.agent,
            vdso=known.vdso,
            config=config,
            agent_size=len(known.agent),
            vdso_size=len(known.vdso),
            config_size=len(config),
            data=known.data,
            vdso_slots=known.slots,
        )
        self.at = ctypes.addressof(self._image)

    def follow(self, by: Waits, tid: int, tgid: int, start: Start) -> bool:
        """Let an execve go on; what comes of it will call, and wait; False: nothing.

        *start* is filled before that call is made, its pid last.  OSError, EPERM if
        somebody else traces it: then the execve still waits for an answer.
        """
        at = ctypes.addressof(start)
        result = library().softsgx_follow_exec(*by, tid, tgid, self._image.data, at)
        return bool(checked(result, "ptrace"))

    def before(self, tid: int) -> Start:
        """Return what only the agent knows of a thread that is about to execve."""
        start = Start()
        library().softsgx_read_hidden(tid, self._image.data, ctypes.addressof(start))
        return start

    def inject(self, start: Start, cpuids: "Sequence[int]", by: Waits) -> None:
        """Put the agent into a program that waits *by* a call; replace its CPUIDs."""
        places = (ctypes.c_uint64 * len(cpuids))(*cpuids)
        at = ctypes.addressof(start)
        done = library().softsgx_inject(*by, self.at, at, places, len(cpuids))
        checked(done, "inject")
