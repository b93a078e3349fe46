"""What this machine and its kernel let a process do: each thing is really tried.

Whatever could hurt is tried in a child of its own, which a seccomp filter above us
may kill; that, too, is an answer.
"""

import ctypes
import errno
import mmap
import os
import platform
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_SYS_PROCESS_VM_READV = 310
_SYS_SECCOMP = 317
_SYS_ARCH_PRCTL = 158
_SYS_PIDFD_OPEN = 434
_SYS_PIDFD_GETFD = 438

_PR_SET_NO_NEW_PRIVS = 38
_ARCH_SET_CPUID = 0x1012

_SECCOMP_SET_MODE_FILTER = 1
_SECCOMP_FILTER_FLAG_NEW_LISTENER = 1 << 3
_SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV = 1 << 5
_SECCOMP_IOCTL_NOTIF_SET_FLAGS = 0x4008_2104
_SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP = 1
_BPF_RET_ALLOW = (6, 0, 0, 0x7FFF_0000)

_PTRACE_SEIZE = 0x4206
_PTRACE_INTERRUPT = 0x4207
_PTRACE_GETREGSET = 0x4204
_PTRACE_DETACH = 17
_NT_X86_XSTATE = 0x202
_XCR0_OFFSET = 464
_XSAVE_LIMIT = 1 << 16

_AT_HWCAP2 = 26
_HWCAP2_FSGSBASE = 1 << 1
_MEMFD_EXEC = 0x10

_HERE = Path(__file__).parent
_BUILT = ("libsoftsgx.so", "agent.bin", "vdso.bin", "images.json")

KILLED = -1
"""Stands for an errno when the child that tried was killed."""


@dataclass(frozen=True)
class Attempt:
    """The outcome of one trial: errno 0 is success, KILLED a child's death."""

    errno: int

    @property
    def works(self) -> bool:
        """Say whether the trial succeeded."""
        return self.errno == 0

    def __str__(self) -> str:
        if self.works:
            return "works"
        if self.errno == KILLED:
            return "killed by a filter"
        return errno.errorcode.get(self.errno, str(self.errno))


@dataclass(frozen=True, kw_only=True)
class Extended:
    """The processor's extended state: XCR0, and its XSAVE area in bytes; 0: unknown."""

    xcr0: int
    size: int


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What doctor looks at and bench writes down."""

    kernel: str
    machine: str
    cpu: str
    cpus: int
    cpu_flags: frozenset[str]
    ptrace: Attempt
    yama: int | None
    extended: Extended
    seccomp_filter: Attempt
    seccomp_listener: Attempt
    sync_wake_up: Attempt
    wait_killable: Attempt
    cpuid_faulting: Attempt
    fsgsbase: bool
    process_vm: Attempt
    pidfd_getfd: Attempt
    memfd_exec: Attempt
    max_map_count: int | None
    mmap_min_addr: int | None
    nofile_soft: int
    nofile_hard: int
    device: str | None
    device_openable: bool
    unbuilt: tuple[str, ...]


def probe() -> Facts:
    """Try everything; takes some 50 ms and leaves nothing behind."""
    ptrace, extended, process_vm, pidfd_getfd = _try_on_child()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    device = _device()
    cpuinfo = _cpuinfo()
    return Facts(
        kernel=platform.release(),
        machine=platform.machine(),
        cpu=cpuinfo.get("model name", "unknown"),
        cpus=len(os.sched_getaffinity(0)),
        cpu_flags=frozenset(cpuinfo.get("flags", "").split()),
        ptrace=ptrace,
        yama=_read_int("/proc/sys/kernel/yama/ptrace_scope"),
        extended=extended,
        seccomp_filter=_in_child(lambda: _install_filter(0)[0]),
        seccomp_listener=_in_child(_try_listener),
        sync_wake_up=_in_child(_try_sync_wake_up),
        wait_killable=_in_child(_try_wait_killable),
        cpuid_faulting=_in_child(_try_cpuid_faulting),
        fsgsbase=bool(_getauxval(_AT_HWCAP2) & _HWCAP2_FSGSBASE),
        process_vm=process_vm,
        pidfd_getfd=pidfd_getfd,
        memfd_exec=_try_memfd_exec(),
        max_map_count=_read_int("/proc/sys/vm/max_map_count"),
        mmap_min_addr=_read_int("/proc/sys/vm/mmap_min_addr"),
        nofile_soft=soft,
        nofile_hard=hard,
        device=device,
        device_openable=device is not None and os.access(device, os.R_OK | os.W_OK),
        unbuilt=tuple(name for name in _BUILT if not (_HERE / name).exists()),
    )


class _Insn(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("jt", ctypes.c_uint8),
        ("jf", ctypes.c_uint8),
        ("k", ctypes.c_uint32),
    )


class _Fprog(ctypes.Structure):
    _fields_ = (("len", ctypes.c_uint16), ("filter", ctypes.POINTER(_Insn)))


class _Iovec(ctypes.Structure):
    _fields_ = (("base", ctypes.c_void_p), ("len", ctypes.c_size_t))


_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.ptrace.restype = ctypes.c_long
_libc.ptrace.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_long, ctypes.c_void_p)
_libc.getauxval.restype = ctypes.c_ulong


def _getauxval(kind: int) -> int:
    return int(_libc.getauxval(ctypes.c_ulong(kind)))


def _syscall(number: int, *arguments: object) -> tuple[int, int]:
    """Make a system call; return an errno (0: none) and what it returned."""
    result = int(_libc.syscall(ctypes.c_long(number), *arguments))
    return (ctypes.get_errno() if result < 0 else 0), result


def _in_child(trial: Callable[[], int]) -> Attempt:
    """Run *trial*, which returns an errno, in a forked child."""
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(min(trial(), 255))
        finally:
            os._exit(255)
    _, status = os.waitpid(pid, 0)
    return Attempt(os.WEXITSTATUS(status) if os.WIFEXITED(status) else KILLED)


def _install_filter(flags: int) -> tuple[int, int]:
    """Install a filter that allows everything; return errno and listener, if asked."""
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    program = _Fprog(1, ctypes.pointer(_Insn(*_BPF_RET_ALLOW)))
    operation = ctypes.c_uint(_SECCOMP_SET_MODE_FILTER)
    return _syscall(
        _SYS_SECCOMP, operation, ctypes.c_uint(flags), ctypes.byref(program)
    )


def _try_listener() -> int:
    return _install_filter(_SECCOMP_FILTER_FLAG_NEW_LISTENER)[0]


def _try_wait_killable() -> int:
    flags = _SECCOMP_FILTER_FLAG_NEW_LISTENER | _SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV
    return _install_filter(flags)[0]


def _try_sync_wake_up() -> int:
    failed, listener = _install_filter(_SECCOMP_FILTER_FLAG_NEW_LISTENER)
    if failed:
        return failed
    request = ctypes.c_ulong(_SECCOMP_IOCTL_NOTIF_SET_FLAGS)
    flags = ctypes.c_ulong(_SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP)
    return ctypes.get_errno() if _libc.ioctl(listener, request, flags) < 0 else 0


def _try_cpuid_faulting() -> int:
    return _syscall(_SYS_ARCH_PRCTL, ctypes.c_long(_ARCH_SET_CPUID), ctypes.c_long(0))[
        0
    ]


def _try_memfd_exec() -> Attempt:
    flags = os.MFD_CLOEXEC
    try:
        try:
            fd = os.memfd_create("softsgx-probe", flags | _MEMFD_EXEC)
        except OSError:  # the flag is younger than 5.11
            fd = os.memfd_create("softsgx-probe", flags)
        try:
            os.ftruncate(fd, mmap.PAGESIZE)
            prot = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
            mmap.mmap(fd, mmap.PAGESIZE, mmap.MAP_SHARED, prot).close()
        finally:
            os.close(fd)
    except OSError as error:
        return Attempt(error.errno or errno.EINVAL)
    return Attempt(0)


@contextmanager
def _sleeping_child() -> Iterator[int]:
    pid = os.fork()
    if pid == 0:
        try:
            signal.pause()
        finally:
            os._exit(0)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _try_on_child() -> tuple[Attempt, Extended, Attempt, Attempt]:
    with _sleeping_child() as pid:
        process_vm = _try_process_vm(pid)
        pidfd_getfd = _try_pidfd_getfd(pid)
        ptrace, extended = _try_ptrace(pid)
    return ptrace, extended, process_vm, pidfd_getfd


def _try_ptrace(pid: int) -> tuple[Attempt, Extended]:
    extended = Extended(xcr0=0, size=0)
    if _libc.ptrace(_PTRACE_SEIZE, pid, 0, None) < 0:
        return Attempt(ctypes.get_errno()), extended
    _libc.ptrace(_PTRACE_INTERRUPT, pid, 0, None)
    os.waitpid(pid, 0)
    area = ctypes.create_string_buffer(_XSAVE_LIMIT)
    iov = _Iovec(ctypes.cast(area, ctypes.c_void_p), _XSAVE_LIMIT)
    where = ctypes.cast(ctypes.byref(iov), ctypes.c_void_p)
    if _libc.ptrace(_PTRACE_GETREGSET, pid, _NT_X86_XSTATE, where) == 0:
        xcr0 = int.from_bytes(area.raw[_XCR0_OFFSET : _XCR0_OFFSET + 8], "little")
        extended = Extended(xcr0=xcr0, size=iov.len)
    _libc.ptrace(_PTRACE_DETACH, pid, 0, None)
    return Attempt(0), extended


def _try_process_vm(pid: int) -> Attempt:
    source = ctypes.create_string_buffer(8)  # there: may be unmapped
    into = ctypes.create_string_buffer(8)
    here = _Iovec(ctypes.cast(into, ctypes.c_void_p), 8)
    there = _Iovec(ctypes.cast(source, ctypes.c_void_p), 8)
    one, none = ctypes.c_ulong(1), ctypes.c_ulong(0)
    failed, _ = _syscall(
        _SYS_PROCESS_VM_READV,
        ctypes.c_long(pid),
        ctypes.byref(here),
        one,
        ctypes.byref(there),
        one,
        none,
    )
    return Attempt(0 if failed == errno.EFAULT else failed)


def _try_pidfd_getfd(pid: int) -> Attempt:
    zero = ctypes.c_long(0)
    failed, pidfd = _syscall(_SYS_PIDFD_OPEN, ctypes.c_long(pid), zero)
    if failed:
        return Attempt(failed)
    failed, copy = _syscall(_SYS_PIDFD_GETFD, ctypes.c_long(pidfd), zero, zero)
    os.close(pidfd)
    if not failed:
        os.close(copy)
    return Attempt(0 if failed == errno.EBADF else failed)


def _read_int(path: str) -> int | None:
    try:
        return int(Path(path).read_text())
    except (OSError, ValueError):
        return None


def _cpuinfo() -> dict[str, str]:
    """Return the first processor's lines of /proc/cpuinfo."""
    found: dict[str, str] = {}
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return found
    for line in text.split("\n\n", 1)[0].splitlines():
        name, _, value = line.partition(":")
        found[name.strip()] = value.strip()
    return found


def _device() -> str | None:
    for path in ("/dev/sgx_enclave", "/dev/sgx/enclave"):
        if Path(path).is_char_device():
            return path
    return None
