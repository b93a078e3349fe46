"""/proc/PID/maps as a program sees it, with its enclaves."""

import os

from softsgx.driver.device import ENCLAVE, ISGX
from softsgx.driver.mm import Vma
from softsgx.runner.threads import read_proc
from softsgx.runner.views import FIRST_INODE


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
            lines.append((start, line))
    return "".join(f"{line}\n" for _, line in sorted(lines))


def _enclave_line(vma: Vma, device: str) -> str:
    letters = "".join(c if vma.prot & 1 << n else "-" for n, c in enumerate("rwx"))
    head = f"{vma.start:08x}-{vma.end:08x} {letters}s 00000000 {device} {FIRST_INODE}"
    name = ISGX if vma.encl.by_address else ENCLAVE
    return f"{head:<72} /dev/{name}"
