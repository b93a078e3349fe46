"""Facts about this machine that every run needs; `native.probe` knows the others."""

import ctypes
import re
from pathlib import Path

from softsgx.native import lib

_AT_HWCAP2 = 26
_HWCAP2_FSGSBASE = 1 << 1
_SYS_ARCH_PRCTL = 158
_ARCH_SET_CPUID = 0x1012
_CAP_SYS_PTRACE = 19
_XSAVE_LEAF = 0x0D
_FIRST_EXTENDED, _LAST_EXTENDED = 2, 20


def has_fsgsbase() -> bool:
    """Say whether programs may read and write the FS and GS bases themselves."""
    libc = ctypes.CDLL(None)
    libc.getauxval.restype = ctypes.c_ulong
    return bool(libc.getauxval(_AT_HWCAP2) & _HWCAP2_FSGSBASE)


def may_trace_all() -> bool:
    """Say whether we have CAP_SYS_PTRACE: may look at processes that hide."""
    text = Path("/proc/self/status").read_text()
    (effective,) = re.findall(r"^CapEff:\s*(\w+)$", text, re.MULTILINE)
    return bool(int(effective, 16) >> _CAP_SYS_PTRACE & 1)


def has_cpuid_faulting() -> bool:
    """Say whether the kernel can make CPUID fault; asking changes nothing."""
    libc = ctypes.CDLL(None)
    result: int = libc.syscall(_SYS_ARCH_PRCTL, _ARCH_SET_CPUID, 1)
    return result == 0


def xsave_components() -> tuple[tuple[int, int, int], ...]:
    """Return number, offset and size of each extended state component for users."""
    out = []
    for component in range(_FIRST_EXTENDED, _LAST_EXTENDED):
        size, offset, flags, _ = lib.cpuid(_XSAVE_LEAF, component)
        if size and not flags & 1:
            out.append((component, offset, size))
    return tuple(out)
