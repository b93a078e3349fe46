"""/dev/sgx_vepc: EPC pages for a virtual machine, which its monitor maps and clears.

Linux's driver never evicts them, and knows nothing of what the guest keeps there.  They
are charged to the monitor's cgroup.  To the monitor itself they are abort pages.
"""

import errno
import os
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace

from softsgx.arch.errors import SgxError
from softsgx.arch.faults import GeneralProtection
from softsgx.driver.core import Core
from softsgx.driver.encl import Encl
from softsgx.driver.epc.account import Account, Scarce
from softsgx.driver.epc.section import Run, Section
from softsgx.driver.errnos import refuse
from softsgx.driver.protocols import EnclMemory
from softsgx.driver.uapi import MAP_SHARED, SGX_IOC_VEPC_REMOVE_ALL

_MOST_NUMBERS = 1 << 31
"""What `Encl` has room for."""


class VepcDevice:
    """The node; what its files have in common are the zombies.

    A zombie is the EPC page of a SECS whose file is gone, and which still has a child
    in another file.
    """

    def __init__(self, core: Core):
        self.core = core
        self.zombies: list[int] = []
        first = core.machine.epc.pages
        self._numbers = Section([(first, _MOST_NUMBERS - first)], 0)

    def number(self, count: int) -> list[Run]:
        """Give numbers to pages that a guest only believes in."""
        runs = self._numbers.alloc_run(count)
        epc = self.core.machine.epc
        epc.limit = max(epc.limit, *(first + size for first, size in runs))
        return runs

    def unnumber(self, runs: list[Run]) -> None:
        """Take such numbers back."""
        for first, size in runs:
            self._numbers.give(first, size)

    def open(self, account: Account | None = None) -> "Vepc":
        """Give a virtual EPC without a page; *account*: of whom its pages are."""
        return Vepc(self, account or Account())


@dataclass(frozen=True, order=True)
class Placed:
    """A run of a file's pages: number of the first in the file, and in the EPC."""

    index: int
    first: int
    count: int


class Vepc:
    """One open file; *runs* are its pages, in the file's order."""

    def __init__(self, device: VepcDevice, account: Account):
        self._device, self._core = device, device.core
        self._account = account
        self.runs: list[Placed] = []

    def has(self, page: int) -> bool:
        """Say whether an EPC page is one of its own."""
        return any(run.first <= page < run.first + run.count for run in self.runs)

    def mmap(self, flags: int) -> None:
        """Refuse with EINVAL a mapping that is not shared."""
        if not flags & MAP_SHARED:
            raise refuse(errno.EINVAL, "a virtual EPC is mapped shared")

    def fault(self, index: int, count: int = 1) -> None:
        """Give pages to places that have none; ENOMEM: the access is SIGBUS."""
        gaps = list(self._gaps(index, index + count))
        wanted = sum(size for _, size in gaps)
        self._account.take(Scarce.PAGES, wanted)
        try:
            self._core.make_room(wanted)
            given = self._core.section.alloc_run(wanted, listed=False)
        except OSError:
            self._account.give(Scarce.PAGES, wanted)
            raise
        for at, size in gaps:
            self._place(at, size, given)

    def _place(self, at: int, size: int, given: list[Run]) -> None:
        """Put pages that were given into a gap; what is left stays in *given*."""
        while size:
            first, length = given.pop(0)
            part = min(size, length)
            self._insert(Placed(at, first, part))
            at, size = at + part, size - part
            if part < length:
                given.insert(0, (first + part, length - part))

    def _insert(self, run: Placed) -> None:
        """Keep a run, joined to the one before it if it goes on there."""
        at = bisect_left(self.runs, run)
        before = self.runs[at - 1] if at else Placed(-1, -1, 0)
        end = before.index + before.count, before.first + before.count
        if end == (run.index, run.first):
            run = replace(before, count=before.count + run.count)
            self.runs[at - 1] = run
        else:
            self.runs.insert(at, run)

    def _gaps(self, index: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield the places of a range that have no page: where, and how many."""
        at = max(bisect_right(self.runs, index, key=_index) - 1, 0)
        while at < len(self.runs) and self.runs[at].index < end:
            run = self.runs[at]
            if run.index > index:
                yield index, run.index - index
            index = max(index, run.index + run.count)
            at += 1
        if index < end:
            yield index, end - index

    def ioctl(self, cmd: int, arg: int) -> int:
        """Run an ioctl: REMOVE_ALL returns how many SECS still have children.

        EBUSY: a page's enclave is entered, or a page is in use otherwise.
        """
        if cmd != SGX_IOC_VEPC_REMOVE_ALL:
            raise refuse(errno.ENOTTY, f"ioctl {cmd:#x}")
        if arg:
            raise refuse(errno.EINVAL, f"argument {arg:#x}")
        left = 0
        for page in self._used():
            try:
                code = self._core.kernel.eremove(page)
            except GeneralProtection as fault:
                raise refuse(errno.EBUSY, str(fault)) from fault
            if code == SgxError.CHILD_PRESENT:
                left += 1
            elif code:
                raise refuse(errno.EBUSY, os.strerror(errno.EBUSY))
        return left

    def release(self) -> None:
        """Close it: first all pages, then each SECS again, then the zombies."""
        for page in self._used():
            self._core.kernel.eremove(page)
        pinned = [page for page in self._used() if self._core.kernel.eremove(page)]
        for run in self.runs:
            self._give(run, set(pinned))
        self.settle()
        self.runs.clear()
        for page in self._device.zombies:
            if self._core.kernel.eremove(page):
                pinned.append(page)
            else:
                self._core.take_back(page, 1)
        self._device.zombies = pinned

    def settle(self) -> None:
        """Give back what it has of its account."""
        self._account.give(Scarce.PAGES, sum(run.count for run in self.runs))

    def _used(self) -> list[int]:
        """Return the EPC pages that EREMOVE would not leave alone, in order."""
        epcm = self._core.machine.epcm
        return [page for run in self.runs for page in epcm.used(run.first, run.count)]

    def _give(self, run: Placed, kept: set[int]) -> None:
        """Give a run back but for some pages."""
        at, end = run.first, run.first + run.count
        for page in sorted(page for page in kept if at <= page < end):
            if page > at:
                self._core.take_back(at, page - at)
            at = page + 1
        if at < end:
            self._core.take_back(at, end - at)


def _index(run: Placed) -> int:
    return run.index


class VepcFile(Encl):
    """An open node as a program has it: mapped, and never made an enclave.

    A page of it is found by its offset, and a fork does not copy its mappings.
    """

    def __init__(self, memory: EnclMemory, mode: int, vepc: Vepc):
        super().__init__(memory, mode, by_address=True)
        self.vepc = vepc
        self.waits = 0
        """How often a page was waited for since there last was one."""

    def settle(self) -> None:
        """Give back what it has of its account: its machine is gone."""
        self.vepc.settle()
