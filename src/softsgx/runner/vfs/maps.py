"""/proc/PID/maps and auxv as a program sees them: with its enclaves, and its vDSO."""

import os
import struct
from pathlib import Path

from softsgx.driver.device import ENCLAVE, ISGX, VEPC
from softsgx.driver.mm import Vma
from softsgx.driver.vepc import VepcFile
from softsgx.native.numbers import AGENT_BASE, VDSO_OFFSET
from softsgx.runner.task.threads import read_proc
from softsgx.runner.vfs.views import FIRST_INODE

VDSO = AGENT_BASE + VDSO_OFFSET
"""Where AT_SYSINFO_EHDR leads in every program of the tree."""
_AT_SYSINFO_EHDR = 33
_ENTRY = struct.Struct("=QQ")
_VDSO_NAME = "[vdso]"


def maps(pid: int, vmas: list[Vma]) -> str:
    """Return the text of /proc/PID/maps as the program knows its enclave mappings."""
    near = os.stat("/dev")  # noqa: PTH116 -- a number is wanted
    device = f"{os.major(near.st_dev):02x}:{os.minor(near.st_dev):02x}"
    lines = [(vma.start, _enclave_line(vma, device)) for vma in vmas]
    try:
        text = read_proc(f"/proc/{pid}/maps")
    except OSError:
        text = ""
    for line in text.split("\n")[:-1]:
        start, end = (int(part, 16) for part in line.split(maxsplit=1)[0].split("-"))
        if not any(vma.start < end and start < vma.end for vma in vmas):
            lines.append((start, _with_vdso(start, line)))
    return "".join(f"{line}\n" for _, line in sorted(lines))


def auxv(pid: int) -> str:
    """Return what /proc/PID/auxv has, as `os.fsdecode` gives it.

    The vDSO in it is the one that the program's stack names; the kernel has its own.
    """
    raw = Path(f"/proc/{pid}/auxv").read_bytes()
    entries = list(_ENTRY.iter_unpack(raw[: len(raw) // _ENTRY.size * _ENTRY.size]))
    ours = ((tag, VDSO if tag == _AT_SYSINFO_EHDR else value) for tag, value in entries)
    return os.fsdecode(b"".join(_ENTRY.pack(*entry) for entry in ours))


def _with_vdso(start: int, line: str) -> str:
    """Have the name of the vDSO stand where the program finds it."""
    if line.endswith(_VDSO_NAME):
        return line.removesuffix(_VDSO_NAME).rstrip()
    return f"{line:<73}{_VDSO_NAME}" if start == VDSO else line


def _enclave_line(vma: Vma, device: str) -> str:
    letters = "".join(c if vma.prot & 1 << n else "-" for n, c in enumerate("rwx"))
    offset, name = 0, ISGX if vma.encl.by_address else ENCLAVE
    if isinstance(vma.encl, VepcFile):
        offset, name = vma.start - vma.origin, VEPC
    span = f"{vma.start:08x}-{vma.end:08x} {letters}s"
    head = f"{span} {offset:08x} {device} {FIRST_INODE}"
    return f"{head:<72} /dev/{name}"
