"""Breakpoints over ENCLU and CPUID: who put them where, and what stood there.

In enclave memory the byte is the enclave page's own; the driver's view of it and
MRENCLAVE are as they were.  In a program's text it is a private copy of the page.
"""

import errno
from pathlib import Path

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.secinfo import PageType
from softsgx.driver.driver import Driver
from softsgx.driver.encl import Encl
from softsgx.native import lib
from softsgx.runner.process import Process, UserTask
from softsgx.runner.text import TextScanner

INT3 = 0xCC
ENCLU, CPUID = 1, 2
_BYTES = {ENCLU: b"\x0f\x01\xd7", CPUID: b"\x0f\xa2"}


class Sites:
    """All breakpoints of softsgx in the tree."""

    def __init__(self, driver: Driver, *, cpuid: bool):
        self._driver = driver
        self._scanner = TextScanner() if cpuid else None
        self._in_enclaves: dict[Encl, set[int]] = {}

    def patch(self, task: UserTask, address: int, kind: int) -> None:
        """Put a breakpoint over an instruction that trapped; OSError if it cannot."""
        expected = _BYTES.get(kind)
        if expected is None or address % PAGE_SIZE > PAGE_SIZE - len(expected):
            raise OSError(errno.EINVAL, "not a site")
        if _is_traced(task.tid):
            raise OSError(errno.EBUSY, "a debugger is attached")
        vma = task.mm.find(address)
        if vma is not None:
            self._patch_enclave(vma.encl, address, expected)
            return
        if task.copy_from_user(address, len(expected)) != expected:
            raise OSError(errno.EINVAL, "something else stands there")
        lib.poke(task.tid, address, INT3)
        task.process.sites[address] = kind

    def _patch_enclave(self, encl: Encl, address: int, expected: bytes) -> None:
        page = encl.page(address)
        if page is None or page.type != PageType.REG:
            raise OSError(errno.EINVAL, "no code there")
        cell = self._driver.machine.epc.page(page.epc_page)
        at = address % PAGE_SIZE
        if bytes(cell[at : at + len(expected)]) != expected:
            raise OSError(errno.EINVAL, "something else stands there")
        cell[at] = INT3
        self._in_enclaves.setdefault(encl, set()).add(address)

    def is_site(self, task: UserTask, address: int, kind: int) -> bool:
        """Say whether a breakpoint that a thread met is one of ours."""
        vma = task.mm.find(address)
        if vma is not None:
            return kind == ENCLU and address in self._in_enclaves.get(vma.encl, ())
        return task.process.sites.get(address) == kind

    def patch_text(
        self, process: Process, path: str, start: int, length: int, offset: int
    ) -> None:
        """Put breakpoints over the CPUIDs in a mapping of a file's code."""
        if self._scanner is None:
            return
        for site in self._scanner.sites(path):
            if offset <= site < offset + length:
                self._poke_cpuid(process, start + site - offset)

    def patch_program(self, process: Process) -> None:
        """Do so for what the kernel mapped at execve: the program and its loader."""
        if self._scanner is None:
            return
        for line in Path(f"/proc/{process.pid}/maps").read_text().splitlines():
            fields = line.split(maxsplit=5)
            if "x" in fields[1] and len(fields) > 5 and fields[5].startswith("/"):
                start, end = (int(part, 16) for part in fields[0].split("-"))
                path = f"/proc/{process.pid}/map_files/{fields[0]}"
                offset = int(fields[2], 16)
                self.patch_text(process, path, start, end - start, offset)

    def _poke_cpuid(self, process: Process, address: int) -> None:
        try:
            if lib.read(process.pid, address, 2) == _BYTES[CPUID]:
                lib.poke(process.pid, address, INT3)
                process.sites[address] = CPUID
        except OSError:
            return

    def forget(self, encl: Encl) -> None:
        """Drop what is known of an enclave that is gone."""
        self._in_enclaves.pop(encl, None)


def _is_traced(tid: int) -> bool:
    try:
        text = Path(f"/proc/{tid}/status").read_text()
    except OSError:
        return True
    return "TracerPid:\t0\n" not in text
