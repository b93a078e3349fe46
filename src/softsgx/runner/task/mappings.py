"""/proc/PID/maps: what a process has mapped, and the files behind it."""

import os
from collections.abc import Iterator

from softsgx.native import lib
from softsgx.runner.task.threads import read_proc


class Mapping:
    """A line of /proc/PID/maps."""

    def __init__(self, pid: int, start: int, end: int, perms: str):
        self.pid = pid
        self.start = start
        self.end = end
        self.perms = perms
        self.offset = self.inode = 0
        self.path = ""

    def of(self, offset: int, inode: int, path: str) -> "Mapping":
        """Say that it is of a file, from *offset* bytes on; return it."""
        self.offset = offset
        self.inode = inode
        self.path = path
        return self

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
        Mapping(pid, start, end, "r-xp").of(offset, inode, path)
        for start, end, offset, inode, path in found
        if path.startswith("/") or not path
    ]


def _maps(pid: int) -> str:
    try:
        return read_proc(f"/proc/{pid}/maps")
    except OSError:
        return ""


def mappings(pid: int) -> Iterator[Mapping]:
    """Yield the mappings of a process, lowest first; none if it is gone."""
    # A file's name may have any other byte in it: only a newline ends a line.
    for line in _maps(pid).split("\n")[:-1]:
        where, perms, offset, _, inode, *rest = line.split(None, 5)
        start, end = (int(part, 16) for part in where.split("-"))
        path = rest[0] if rest else ""
        mapping = Mapping(pid, start, end, perms)
        yield mapping.of(int(offset, 16), int(inode), path)


_PAGE_SIZE = 4096
_PAGEMAP_ENTRY = 8
_PRESENT_OR_SWAPPED = 0b11 << 62
_FILE_OR_SHARED = 1 << 61


def is_modified(pid: int, addr: int, pages: int) -> bool:
    """Say whether any of some pages is a private copy; yes if it cannot be seen."""
    try:
        fd = os.open(f"/proc/{pid}/pagemap", os.O_RDONLY | os.O_CLOEXEC)
        try:
            at = addr // _PAGE_SIZE * _PAGEMAP_ENTRY
            raw = os.pread(fd, pages * _PAGEMAP_ENTRY, at)
        finally:
            os.close(fd)
    except OSError:
        return True
    entries = memoryview(raw).cast("Q")
    return len(entries) < pages or any(
        entry & _PRESENT_OR_SWAPPED and not entry & _FILE_OR_SHARED for entry in entries
    )
