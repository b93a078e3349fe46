"""A guest with more EPC than the host has for it: what it believes in, the pager."""

import os

from softsgx.driver.core import GuestParts
from softsgx.driver.driver import Driver
from softsgx.driver.epc.hierarchy import Hierarchy
from softsgx.driver.epc.section import Run
from softsgx.driver.paging.guest_kernel import GuestKernel
from softsgx.driver.paging.monitor import Monitor
from softsgx.driver.paging.pager import Pager
from softsgx.driver.paging.versions import VA_SLOT_COUNT
from softsgx.driver.vepc import Vepc, VepcDevice
from softsgx.machine.machine import Machine
from softsgx.native.backing import BackingStore
from softsgx.virt.vcpu import Vcpu

_PASSES = 2
"""EREMOVE of each page: the second time of each SECS."""


class Oversubscription:
    """The pages of one guest: as many as it was promised, few of them in *vepc*."""

    def __init__(self, device: VepcDevice, vepc: Vepc, machine: Machine, vcpu: Vcpu):
        self._device, self._vepc = device, vepc
        self._machine, self._vcpu = machine, vcpu
        self.runs: list[Run] = device.number(vcpu.model.epc_pages)
        self._backing: BackingStore | None = None

    def has(self, page: int) -> bool:
        """Say whether an EPC page is one that the guest believes in."""
        return any(first <= page < first + size for first, size in self.runs)

    def driver(self, hierarchy: Hierarchy) -> Driver:
        """Return the driver of the guest's Linux."""
        kernel = GuestKernel(self._machine, self._vcpu.execute)
        guest = GuestParts(self._vcpu, kernel, self.runs)
        driver = Driver(self._machine, pages=True, hierarchy=hierarchy, guest=guest)
        frames = [
            page
            for run in self._vepc.runs
            for page in range(run.first, run.first + run.count)
        ]
        needed = self._vcpu.model.epc_pages // VA_SLOT_COUNT + 1
        backing = BackingStore(os.memfd_create("softsgx guest", os.MFD_CLOEXEC))
        self._backing = backing
        pager = Pager(driver, len(frames), frames[:needed], backing)
        kernel.pager = driver.pager = pager
        return driver

    def empty(self) -> None:
        """Forget all that is in the pages, and out of them."""
        ring0 = Monitor(self._machine)
        for _ in range(_PASSES):
            for run in self.runs:
                for page in self._machine.epcm.used(*run):
                    ring0.eremove(page)
        for first, size in self.runs:
            self._machine.epc.unplace(first, size)
        self._machine.epcm.touched.clear()
        if self._backing:
            self._backing.close()
            self._backing = None

    def end(self) -> None:
        """Give the numbers back."""
        self.empty()
        self._device.unnumber(self.runs)
