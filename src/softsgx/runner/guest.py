"""A guest that is on: its part of the platform's EPC, its processor, and its Linux.

What QEMU and KVM do for a virtual machine with SGX.
"""

import errno
import os
from collections.abc import Callable
from dataclasses import replace

from softsgx.arch.addr import PAGE_SIZE
from softsgx.driver.core import Core, GuestParts
from softsgx.driver.device import Provision, attributes_of
from softsgx.driver.driver import Driver
from softsgx.driver.epc.hierarchy import Hierarchy
from softsgx.driver.errnos import refuse
from softsgx.driver.gate import StockGate
from softsgx.driver.kernel import Kernel
from softsgx.driver.uapi import MAP_SHARED, SGX_IOC_VEPC_REMOVE_ALL
from softsgx.driver.vepc import VepcDevice
from softsgx.launch.guests import WhoseLists
from softsgx.machine.machine import Machine
from softsgx.machine.package import Fuses
from softsgx.native import userfault
from softsgx.platform.guests import Guest, Guests
from softsgx.platform.platform import Platform
from softsgx.runner.guest_gate import HostsJudge
from softsgx.runner.oversubscription import Oversubscription
from softsgx.runner.system import Complain, System
from softsgx.runner.task.cgroups import MountedHierarchy
from softsgx.virt.capability import KVM_CAP_SGX_ATTRIBUTE, enable_cap
from softsgx.virt.einit import Judge
from softsgx.virt.vcpu import Vcpu

_RESETS = 2
"""How often a monitor removes all pages: each SECS goes the second time."""


class VirtualMachine:
    """A guest on the host of *device*; *machine* is the host's with the guest's keys.

    *vcpu* is its processor, *part* what there really is of its EPC, if that is less.
    OSError: the host has not so much to give.
    """

    def __init__(
        self,
        device: VepcDevice,
        machine: Machine,
        vcpu: Vcpu,
        *,
        part: int = 0,
        spare: int = 0,
    ):
        self._machine, self.vcpu = machine, vcpu
        self._vepc = device.open()
        self._vepc.mmap(MAP_SHARED)
        self._vepc.fault(0, part or vcpu.model.epc_pages)
        self._spare = device.core.section.alloc_run(spare)
        self._more: Oversubscription | None = None
        if part and userfault.is_there():
            self._more = Oversubscription(device, self._vepc, machine, vcpu)
        self.reset()

    def reset(self) -> None:
        """Stop its processors, empty its EPC, and let its firmware run."""
        self._stop()
        if self._more:
            self._more.empty()
        left = 0
        for _ in range(_RESETS):
            left = self._vepc.ioctl(SGX_IOC_VEPC_REMOVE_ALL, 0)
        if left:
            raise refuse(errno.EBUSY, f"{left} SECS have children elsewhere")
        self.vcpu.reset()

    def end(self) -> None:
        """Power it off: its EPC is the host's again."""
        self._stop()
        if self._more:
            self._more.end()
        self._vepc.release()

    def system(self, complain: Complain) -> System:
        """Boot its Linux, once after each reset; *complain* hears what that logs."""
        hierarchy = MountedHierarchy()
        driver = self._more.driver(hierarchy) if self._more else self._driver(hierarchy)
        driver.gate = StockGate(complain)
        return System.of(driver, hierarchy)

    def _driver(self, hierarchy: Hierarchy) -> Driver:
        runs = [(run.first, run.count) for run in self._vepc.runs] + self._spare
        pages = userfault.is_there()
        guest = GuestParts(self.vcpu, Kernel(self._machine, self.vcpu.execute), runs)
        return Driver(self._machine, pages=pages, hierarchy=hierarchy, guest=guest)

    def _stop(self) -> None:
        """Have no thread inside: whoever was has left by an exit, or was killed."""
        for page, enclave in self._machine.enclaves.items():
            if self._vepc.has(page) or (self._more and self._more.has(page)):
                enclave.inside.clear()


def power_on(
    platform: Platform,
    device: VepcDevice,
    guest: Guest,
    complain: Complain,
    monitor: Callable[[], int] = os.getpid,
    *,
    spare: int = 0,
) -> VirtualMachine:
    """Turn a guest of a platform on, as its record and the owner's policy say.

    *monitor*: the process that the audit log is told of; *spare*: pages that stand in
    for evicted ones.
    """
    guests = Guests(platform)
    host = device.core.machine
    package = host.package
    if guest.secret is not None:
        fuses = Fuses.of_guest(guest.secret)
        package = replace(package, fuses=fuses, ownerepoch=bytes(16))
    machine = host.with_package(package)
    provisioning = False
    if guests.has_provisioning(guest):
        attributes = attributes_of(Provision())
        provisioning = enable_cap(KVM_CAP_SGX_ATTRIBUTE, attributes)
    judge: Judge | None = None
    if guest.record.launch is WhoseLists.HOST:
        judge = HostsJudge(
            platform, guest.name, complain, monitor, provisioning=provisioning
        )
    setup = guest.record.setup(platform.record.lepubkeyhash)
    vcpu = Vcpu(machine, setup, provisioning=provisioning, judge=judge)
    part = guest.record.resident_bytes // PAGE_SIZE
    return VirtualMachine(device, machine, vcpu, part=part, spare=spare)


def alone(
    platform: Platform,
    machine: Machine,
    guest: Guest,
    complain: Complain,
) -> VirtualMachine:
    """Turn a guest on where nobody else is on the platform's machine."""
    spare = machine.epc.pages - machine.model.epc_pages
    device = VepcDevice(Core(machine))
    return power_on(platform, device, guest, complain, spare=spare)
