"""/dev/sgx_vepc: EPC pages for a virtual machine, which its monitor maps and clears.

Linux's driver never evicts them, and knows nothing of what the guest keeps there.  They
are charged to the monitor's cgroup.
"""

import errno
import os
from array import array

from softsgx.arch.errors import SgxError
from softsgx.arch.faults import GeneralProtection
from softsgx.driver.core import Core
from softsgx.driver.errnos import refuse
from softsgx.driver.runs import rising_run
from softsgx.driver.uapi import MAP_SHARED, SGX_IOC_VEPC_REMOVE_ALL


class VepcDevice:
    """The node; what its files have in common are the zombies.

    A zombie is the EPC page of a SECS whose file is gone, and which still has a child
    in another file.
    """

    def __init__(self, core: Core):
        self.core = core
        self.zombies: list[int] = []

    def open(self) -> "Vepc":
        """Give a virtual EPC without a page."""
        return Vepc(self)


class Vepc:
    """One open file: EPC pages by their number in it."""

    def __init__(self, device: VepcDevice):
        self._device, self._core = device, device.core
        self.pages: dict[int, int] = {}

    def mmap(self, flags: int) -> None:
        """Refuse with EINVAL a mapping that is not shared."""
        if not flags & MAP_SHARED:
            raise refuse(errno.EINVAL, "a virtual EPC is mapped shared")

    def fault(self, index: int, count: int = 1) -> None:
        """Give pages to places that have none; ENOMEM: the access is SIGBUS."""
        empty = [at for at in range(index, index + count) if at not in self.pages]
        self._core.make_room(len(empty))
        runs = self._core.section.alloc_run(len(empty), listed=False)
        pages = (page for first, size in runs for page in range(first, first + size))
        self.pages.update(zip(empty, pages, strict=True))

    def ioctl(self, cmd: int, arg: int) -> int:
        """Run an ioctl: REMOVE_ALL returns how many SECS still have children.

        EBUSY: a page's enclave is entered, or a page is in use otherwise.
        """
        if cmd != SGX_IOC_VEPC_REMOVE_ALL:
            raise refuse(errno.ENOTTY, f"ioctl {cmd:#x}")
        if arg:
            raise refuse(errno.EINVAL, f"argument {arg:#x}")
        left = 0
        for index in sorted(self.pages):
            try:
                code = self._core.kernel.eremove(self.pages[index])
            except GeneralProtection as fault:
                raise refuse(errno.EBUSY, str(fault)) from fault
            if code == SgxError.CHILD_PRESENT:
                left += 1
            elif code:
                raise refuse(errno.EBUSY, os.strerror(errno.EBUSY))
        return left

    def release(self) -> None:
        """Close it: first all pages, then each SECS again, then the zombies."""
        self._give_idle()
        for index in sorted(self.pages):
            if self._free(self.pages[index]):
                del self.pages[index]
        left = [page for _, page in sorted(self.pages.items())]
        self.pages.clear()
        pinned = [page for page in left if not self._free(page)]
        pinned += [page for page in self._device.zombies if not self._free(page)]
        self._device.zombies = pinned

    def _give_idle(self) -> None:
        """Give back in runs what is free in the EPCM: EREMOVE would leave it alone."""
        used = self._core.machine.epcm.contents()
        idle = array("I", sorted(set(self.pages.values()) - used.keys()))
        at = 0
        while at < len(idle):
            count = rising_run(idle, at, len(idle))
            self._core.take_back(idle[at], count)
            at += count
        kept = {index: page for index, page in self.pages.items() if page in used}
        self.pages = kept

    def _free(self, page: int) -> bool:
        """Give a page back, unless it is a SECS with children."""
        if self._core.kernel.eremove(page):
            return False
        self._core.take_back(page, 1)
        return True
