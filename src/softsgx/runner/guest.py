"""A guest that is on: its part of the platform's EPC, its processor, and its driver.

What QEMU and KVM do for a virtual machine with SGX.
"""

import errno
from collections.abc import Callable
from dataclasses import replace

from softsgx.arch.addr import PAGE_SIZE
from softsgx.driver.core import Core, Guest
from softsgx.driver.device import Provision, attributes_of
from softsgx.driver.driver import Driver
from softsgx.driver.errnos import refuse
from softsgx.driver.kernel import Kernel
from softsgx.driver.protocols import Hierarchy
from softsgx.driver.uapi import MAP_SHARED, SGX_IOC_VEPC_REMOVE_ALL
from softsgx.driver.vepc import VepcDevice
from softsgx.launch.guests import Launch
from softsgx.machine.machine import Machine
from softsgx.machine.package import Fuses
from softsgx.platform import guests as platform_guests
from softsgx.platform.platform import Platform
from softsgx.runner.guest_gate import HostsJudge
from softsgx.virt.capability import KVM_CAP_SGX_ATTRIBUTE, enable_cap
from softsgx.virt.einit import Judge
from softsgx.virt.vcpu import Setup, Vcpu

_RESETS = 2
"""How often a monitor removes all pages: each SECS goes the second time."""


class VirtualMachine:
    """A guest on *machine*, the platform's, which nobody else uses in this process.

    *provisioning*: it was allowed; *judge*: who decides for the host about EINIT.
    """

    def __init__(
        self,
        machine: Machine,
        setup: Setup,
        *,
        provisioning: bool,
        judge: Judge | None,
    ):
        self._machine, self._pages = machine, setup.epc_bytes // PAGE_SIZE
        self._vepc = VepcDevice(Core(machine)).open()
        self._vepc.mmap(MAP_SHARED)
        self._vepc.fault(0, self._pages)
        self.vcpu = Vcpu(machine, setup, provisioning=provisioning, judge=judge)
        self.reset()

    def reset(self) -> None:
        """Empty its EPC, let its firmware run; EBUSY while an enclave is entered."""
        left = 0
        for _ in range(_RESETS):
            left = self._vepc.ioctl(SGX_IOC_VEPC_REMOVE_ALL, 0)
        if left:
            raise refuse(errno.EBUSY, f"{left} SECS have children elsewhere")
        self.vcpu.reset()

    def driver(self, *, pages: bool, hierarchy: Hierarchy) -> Driver:
        """Return its Linux's driver; without *pages* it has the spare of all of us."""
        count = self._pages if pages else self._machine.epc.pages
        kernel = Kernel(self._machine, self.vcpu.execute)
        guest = Guest(self.vcpu, kernel, count)
        return Driver(self._machine, pages=pages, hierarchy=hierarchy, guest=guest)


def power_on(
    platform: Platform,
    machine: Machine,
    guest: platform_guests.Guest,
    complain: Callable[[str], None],
) -> VirtualMachine:
    """Turn a guest of a platform on, as its record and the owner's policy say."""
    guests = platform_guests.Guests(platform)
    if guest.secret is not None:
        fuses = Fuses.of_guest(guest.secret)
        machine.package = replace(machine.package, fuses=fuses, ownerepoch=bytes(16))
    provisioning = False
    if guests.has_provisioning(guest):
        attributes = attributes_of(Provision())
        provisioning = enable_cap(KVM_CAP_SGX_ATTRIBUTE, attributes)
    judge = None
    if guest.record.launch is Launch.HOST:
        judge = HostsJudge(platform, guest.name, complain, provisioning=provisioning)
    setup = guest.record.setup(platform.record.lepubkeyhash)
    return VirtualMachine(machine, setup, provisioning=provisioning, judge=judge)
