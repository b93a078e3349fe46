"""/proc/PID/maps: what a process has mapped, and the files behind it."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from softsgx.arch.addr import PAGE_SIZE
from softsgx.driver.mm import Vma
from softsgx.native import lib
from softsgx.runner.views import FIRST_INODE

if TYPE_CHECKING:
    from softsgx.runner.process import Process


class Mapping(NamedTuple):
    """A line of /proc/PID/maps; *offset* is bytes into the file *path*."""

    pid: int
    start: int
    end: int
    perms: str
    offset: int
    inode: int
    path: str

    @property
    def is_file(self) -> bool:
        """Say whether a file of the file system is behind it."""
        return bool(self.inode) and self.path.startswith("/")

    @property
    def is_memory(self) -> bool:
        """Say whether it may be memory without a name in the file system."""
        return self.path.startswith("/memfd:")

    def candidates(self) -> Iterator[str]:
        """Yield names of the file behind it: only the first is sure to be that file.

        The first needs a privilege that a user without root does not have.
        """
        yield f"/proc/{self.pid}/map_files/{self.start:x}-{self.end:x}"
        if self.path:
            yield f"/proc/{self.pid}/root{self.path}"

    def path_of_file(self) -> str | None:
        """Return a path that leads to the file behind it; None if there is none."""
        for name in self.candidates():
            try:
                if os.stat(name).st_ino == self.inode:  # noqa: PTH116 -- often called
                    return name
            except OSError:
                continue
        return None

    def open(self) -> int | None:
        """Open the file behind it; None if it cannot be had."""
        for name in self.candidates():
            try:
                fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            except OSError:
                continue
            if os.fstat(fd).st_ino == self.inode:
                return fd
            os.close(fd)
        return None


def code_mappings(pid: int) -> list[Mapping]:
    """Return the executable mappings of files, lowest first; none if it is gone."""
    try:
        found = lib.code_mappings(pid)
    except OSError:
        return [one for one in mappings(pid) if "x" in one.perms and one.is_file]
    return [
        Mapping(pid, start, end, "", offset, inode, path)
        for start, end, offset, inode, path in found
        if path.startswith("/") or not path
    ]


def _maps(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/maps").read_text(errors="surrogateescape")
    except OSError:
        return ""


def mappings(pid: int) -> Iterator[Mapping]:
    """Yield the mappings of a process, lowest first; none if it is gone."""
    for line in _maps(pid).splitlines():
        where, perms, offset, _, inode, *rest = line.split(maxsplit=5)
        start, end = (int(part, 16) for part in where.split("-"))
        path = rest[0] if rest else ""
        yield Mapping(pid, start, end, perms, int(offset, 16), int(inode), path)


_PAGEMAP_ENTRY = 8
_PRESENT_OR_SWAPPED = 0b11 << 62
_FILE_OR_SHARED = 1 << 61


def is_modified(pid: int, addr: int, pages: int) -> bool:
    """Say whether any of some pages is a private copy; yes if it cannot be seen."""
    try:
        with Path(f"/proc/{pid}/pagemap").open("rb", buffering=0) as file:
            file.seek(addr // PAGE_SIZE * _PAGEMAP_ENTRY)
            raw = file.read(pages * _PAGEMAP_ENTRY)
    except OSError:
        return True
    entries = memoryview(raw).cast("Q")
    return len(entries) < pages or any(
        entry & _PRESENT_OR_SWAPPED and not entry & _FILE_OR_SHARED for entry in entries
    )


def maps(process: "Process") -> str:
    """Return the text of /proc/PID/maps as the program knows its enclave mappings."""
    vmas = process.mm.vmas
    near = os.stat("/dev")  # noqa: PTH116 -- a number is wanted
    device = f"{os.major(near.st_dev):02x}:{os.minor(near.st_dev):02x}"
    lines = [(vma.start, _enclave_line(vma, device)) for vma in vmas]
    try:
        text = Path(f"/proc/{process.pid}/maps").read_text(errors="surrogateescape")
    except OSError:
        text = ""
    for line in text.splitlines():
        start, end = (int(part, 16) for part in line.split(maxsplit=1)[0].split("-"))
        if not process.mm.overlapping(start, end):
            lines.append((start, line))
    return "".join(f"{line}\n" for _, line in sorted(lines))


def _enclave_line(vma: Vma, device: str) -> str:
    letters = "".join(c if vma.prot & 1 << n else "-" for n, c in enumerate("rwx"))
    head = f"{vma.start:08x}-{vma.end:08x} {letters}s 00000000 {device} {FIRST_INODE}"
    return f"{head:<72} /dev/sgx_enclave"
