"""CPUIDs in the code of programs and libraries: breakpoints over them.

Each file is looked through once; what was found is kept for later runs.  A place counts
only where the two bytes of CPUID stand in the process's memory too.
"""

import os
import stat
import time
from contextlib import suppress

from softsgx.native import lib
from softsgx.native.numbers import SHORTCUT
from softsgx.native.plain import KnownFiles
from softsgx.runner.kept import Kept
from softsgx.runner.task.mappings import code_mappings, mappings

CPUID_BYTES = b"\x0f\xa2"
INT3, HLT = 0xCC, 0xF4
"""A breakpoint; and what faults, so that RIP stays and no debugger claims it."""
_SETTLED_NS = 2_000_000_000

Identity = tuple[int, int, int, int, int]


class TextScanner:
    """Finds CPUID sites in files, each file once; what was found is *kept*."""

    def __init__(self, kept: Kept | None = None, known: KnownFiles | None = None):
        """Start with what is *known*: what was kept in earlier runs, unless told."""
        self._kept = kept
        self._known = known or KnownFiles(kept.lines if kept else b"")

    def sites(self, path: str) -> tuple[int, ...]:
        """Return file offsets of the CPUIDs in an ELF's code; none if it is gone."""
        try:
            identity = _identity(os.stat(path))  # noqa: PTH116 -- often called
            known = self._known.find(identity)
            places = self._scan(path) if known is None else known
        except OSError:
            return ()
        # Shortcuts are C's: Python serves programs whose calls are to trap.
        return tuple(place for place in places if place < SHORTCUT)

    def _scan(self, path: str) -> tuple[int, ...]:
        # Imported when a file is met that was not seen in any run.
        from softsgx.runner.code.shortcuts import shortcuts  # noqa: PLC0415 -- see above
        from softsgx.runner.code.text import scan  # noqa: PLC0415 -- see above

        fd = _open_regular(path)
        if fd is None:
            return ()
        try:
            status = os.fstat(fd)
            sites = scan(fd, status.st_size)
            sites += shortcuts(fd, status.st_size, sites)
        finally:
            os.close(fd)
        identity = _identity(status)
        self._known.know(identity, sites)
        # Within a tick of the clock a file can change and show the same times.
        if self._kept and time.time_ns() - status.st_ctime_ns > _SETTLED_NS:
            self._kept.keep(_key(identity), ",".join(map(str, sites)) or "none")
        return sites


def _open_regular(path: str) -> int | None:
    """Open a file to read; None: it is none, but what may do things when opened.

    A program names it, which may have no right to open it, as a device of root's.
    """
    named = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(named).st_mode):
            return None
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
        return os.open(f"/proc/self/fd/{named}", flags)
    finally:
        os.close(named)


def _identity(status: os.stat_result) -> Identity:
    return (
        status.st_dev,
        status.st_ino,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_size,
    )


def _key(identity: Identity) -> str:
    return " ".join(map(str, identity))


class HostCode:
    """The CPUIDs in the code of the tree's programs."""

    def __init__(self, scanner: TextScanner | None) -> None:
        self._scanner = scanner

    def rewrite_text(
        self,
        tid: int,
        path: str,
        extent: tuple[int, int, int],
        by: lib.Waits,
        *,
        watched: bool,
    ) -> None:
        """Replace the CPUIDs in a file's code; *extent*: start, length, offset.

        *watched*: a debugger saw the program begin, breakpoints are the debugger's.
        """
        if self._scanner is None:
            return
        start, length, offset = extent
        places = [
            start + site - offset
            for site in self._scanner.sites(path)
            if offset <= site < offset + length
        ]
        if places:
            with suppress(OSError):
                lib.rewrite_cpuid(tid, places, HLT if watched else INT3, by)

    def of_program(self, pid: int) -> list[int]:
        """Return the CPUIDs in what the kernel mapped at execve.

        That is the program and its loader.
        """
        if self._scanner is None:
            return []
        places: list[int] = []
        for mapping in code_mappings(pid):
            path = mapping.path_of_file()
            if path is not None:
                shift = mapping.start - mapping.offset
                begin, end = mapping.offset, mapping.end - shift
                sites = self._scanner.sites(path)
                places += [site + shift for site in sites if begin <= site < end]
        return places


def stands_in_file(pid: int, address: int, expected: bytes) -> bool:
    """Say whether a mapped file has certain bytes where memory has a breakpoint."""
    for mapping in mappings(pid):
        if mapping.start <= address < mapping.end and mapping.is_file:
            fd = mapping.open()
            if fd is None:
                return False
            try:
                at = mapping.offset + address - mapping.start
                return os.pread(fd, len(expected), at) == expected
            finally:
                os.close(fd)
    return False
