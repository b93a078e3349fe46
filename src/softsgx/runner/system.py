"""A Linux with SGX on the platform's machine, or in a guest of it: its own parts."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from softsgx.arch.addr import PAGE_SIZE
from softsgx.driver.device import nodes
from softsgx.driver.driver import Driver
from softsgx.driver.epc.section import add_spare
from softsgx.driver.gate import Gate, StockGate
from softsgx.machine.machine import Machine
from softsgx.machine.xsave import XsaveLayout
from softsgx.native import host, lib, userfault
from softsgx.platform.platform import Platform
from softsgx.runner.task.cgroups import MountedHierarchy
from softsgx.runner.vfs.cgroup_files import CgroupFiles
from softsgx.runner.vfs.views import View

if TYPE_CHECKING:
    from softsgx.platform.guests import Guest

Complain = Callable[[str], None]
"""What tells a user, in a line, what happens while the program runs."""


@dataclass(frozen=True)
class System:
    """One Linux: its driver, and which files it has beside the devices.

    *lists*: the owner's, in securityfs; *cgroups*: None where there is no EPC to limit.
    """

    driver: Driver
    hierarchy: MountedHierarchy
    cgroups: CgroupFiles | None
    lists: Iterable[View] = ()

    @classmethod
    def of(
        cls, driver: Driver, hierarchy: MountedHierarchy, lists: Iterable[View] = ()
    ) -> Self:
        """Return the system of a driver."""
        cgroups = None
        if nodes(driver.cpu):
            epc_bytes = driver.cpu.model.epc_bytes
            cgroups = CgroupFiles(driver.cgroups, hierarchy, epc_bytes)
        return cls(driver, hierarchy, cgroups, lists)


def system_of(
    platform: Platform, complain: Complain, guest: "Guest | None" = None
) -> System:
    """Return the system that alone has a platform's machine, or a guest's there.

    *complain* hears what the owner's policy refuses.
    """
    if guest is None:
        system = host_system(platform, complain)
        _leave_to_guests(platform, system.driver)
        return system
    from softsgx.runner.guest import alone  # noqa: PLC0415 -- few runs have one

    machine = new_machine(platform, spare=not userfault.is_there())
    return alone(platform, machine, guest, complain).system(complain)


def host_system(
    platform: Platform, complain: Complain, left: Machine | None = None
) -> System:
    """Return the host's; *left*: its machine as an earlier driver left it."""
    pages, hierarchy = userfault.is_there(), MountedHierarchy()
    machine = left or new_machine(platform, spare=not pages)
    driver = Driver(machine, pages=pages, hierarchy=hierarchy)
    driver.gate = _gate(platform, complain)
    return System.of(driver, hierarchy, _key_files(platform, machine))


def _leave_to_guests(platform: Platform, driver: Driver) -> None:
    """Leave to guests the EPC that they hold."""
    if not platform.has_guests:
        return
    from softsgx.platform.guests import Guests  # noqa: PLC0415 -- few platforms have any

    driver.section.withhold(Guests(platform).held() // PAGE_SIZE)


def _gate(platform: Platform, complain: Complain) -> Gate:
    """Return who decides about the host's enclaves."""
    if platform.directory is None:
        return StockGate(complain)
    from softsgx.runner.gate import OwnersGate  # noqa: PLC0415 -- few runs have one

    return OwnersGate(platform.policies(), complain)


def _key_files(platform: Platform, machine: Machine) -> Iterator[View]:
    """Yield the owner's lists as files, where there is a driver to have them."""
    if platform.directory is None or not nodes(machine):
        return
    from softsgx.runner.vfs.keyfiles import key_views  # noqa: PLC0415 -- few runs have them

    yield from key_views(platform.policies(), platform.directory.stat().st_uid)


def new_machine(platform: Platform, *, spare: bool) -> Machine:
    """Return the platform's machine, its extended state as of this processor.

    *spare*: its EPC has room for pages that cannot be evicted here.
    """
    machine = platform.machine()
    layout = XsaveLayout(host.xsave_components())
    xfrm = machine.model.xfrm & lib.xcr0()
    machine.model = replace(machine.model, xsave=layout, xfrm=xfrm)
    machine.lay_out = lib.lay_out
    if spare:
        add_spare(machine)
    return machine
