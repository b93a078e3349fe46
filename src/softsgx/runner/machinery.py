"""A machine with its driver, and all that serves the trees of programs on it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from softsgx.arch.addr import PAGE_SIZE
from softsgx.driver.device import nodes
from softsgx.driver.driver import Driver
from softsgx.driver.encl import Encl
from softsgx.driver.gate import Gate, StockGate
from softsgx.driver.section import add_spare
from softsgx.machine.machine import Machine
from softsgx.machine.xsave import XsaveLayout
from softsgx.native import host, lib, userfault
from softsgx.platform.platform import GUESTS_NAME, Platform
from softsgx.runner.calls import Calls
from softsgx.runner.code.sites import Sites
from softsgx.runner.debuggers import Memory
from softsgx.runner.injection import Abilities, agent_config
from softsgx.runner.leaves import Leaves
from softsgx.runner.loop import Loop
from softsgx.runner.options import MASK_PF_SGX, RunOptions
from softsgx.runner.serving import Serving
from softsgx.runner.task.cgroups import MountedHierarchy
from softsgx.runner.task.files import Files, nobody
from softsgx.runner.task.turn import Turn
from softsgx.runner.tree import Tree
from softsgx.runner.vfs.cgroup_files import CgroupFiles
from softsgx.runner.vfs.views import View, Views

if TYPE_CHECKING:
    from softsgx.platform.guests import Guest
    from softsgx.runner.guest import VirtualMachine
    from softsgx.runner.tracing import Tracer

Complain = Callable[[str], None]
"""What tells a user, in a line, what happens while the program runs."""


class Machinery:
    """One machine, from its platform; any number of trees run on it.

    *complain* hears what the owner's policy refuses; *guest*: it is that guest's.
    *left*: a machine as an earlier driver left it.
    """

    def __init__(
        self,
        platform: Platform,
        complain: Complain,
        guest: "Guest | None" = None,
        left: Machine | None = None,
    ):
        pages = userfault.is_there()
        self.machine = machine = left or _machine(platform, spare=not pages)
        self.hierarchy = MountedHierarchy()
        if guest:
            vm = _virtual_machine(platform, machine, guest, complain)
            self.driver = vm.driver(pages=pages, hierarchy=self.hierarchy)
        else:
            self.driver = Driver(machine, pages=pages, hierarchy=self.hierarchy)
            _share(platform, self.driver, complain)
        self.files = Files(self.driver, self.inherit)
        self._views = Views(
            self.driver.cpu,
            more=() if guest else _key_files(platform, machine),
            found=_cgroup_files(self.driver, self.hierarchy),
        )
        self._abilities = Abilities(
            fsgsbase=host.has_fsgsbase(),
            cpuid_faulting=host.has_cpuid_faulting(),
            privileged=host.may_trace_all(),
        )
        self.rewrite_cpuid = not self._abilities.cpuid_faulting
        self._sites = Sites(self.driver, cpuid=self.rewrite_cpuid)
        self._trees: list[Tree] = []

    def inherit(self, kind: str, fd: int) -> Callable[[], None]:
        """Have somebody keep a descriptor for the time after us: here, nobody."""
        return nobody(kind, fd)

    def config(self, *, exact: bool) -> bytes:
        """Return what the agents of a tree are told."""
        return agent_config(
            self.driver.cpu,
            self.files.device,
            self._views.places,
            self._abilities,
            exact=exact,
        )

    def serving(
        self,
        loop: Loop,
        turn: Turn,
        options: RunOptions,
        tracer: "Tracer | None" = None,
    ) -> Serving:
        """Return what answers the calls of one more tree; all share one *turn*."""
        if tracer is None:
            self.machine.lay_out = _LayOut(turn)
        exact = options.exact or tracer is not None
        mask_pf_sgx = MASK_PF_SGX in options.inject
        leaves = Leaves(self.driver, exact=exact, mask_pf_sgx=mask_pf_sgx)
        calls = Calls(self.driver, self.files, self._views, leaves, self._sites, tracer)
        tree = Tree(self.driver, self.files, loop, leaves.insiders)
        self._trees.append(tree)
        memory = Memory(tree, self.driver, self._sites.code)
        return Serving(self, tree, calls, memory)

    def forget(self, serving: Serving) -> None:
        """Take note that a tree is no matter of ours any more."""
        serving.tree.end()
        self._trees.remove(serving.tree)
        self.release_gone()

    def close(self) -> None:
        """Give back what it has of this process; its enclaves are nobody's."""
        self.files.close()
        self._views.found.close()

    def release_gone(self) -> None:
        """Release the enclaves that nobody has any more."""
        for encl in self.files.release_gone():
            self._forget_enclave(encl)

    def _forget_enclave(self, encl: Encl) -> None:
        self._sites.forget(encl)
        for tree in self._trees:
            tree.forget_enclave(encl)


class _LayOut:
    """Lays pages out for the hash: most of an ADD_PAGES, in which others come in."""

    def __init__(self, turn: Turn):
        self._turn = turn

    def __call__(
        self, stream: bytearray, offset: int, secinfo: bytes, pages: memoryview
    ) -> int:
        with self._turn.aside:
            return lib.lay_out(stream, offset, secinfo, pages)


def _share(platform: Platform, driver: Driver, complain: Complain) -> None:
    """Let the owner's policy hold, and leave to guests the EPC that they hold."""
    if platform.directory is None:
        driver.gate = StockGate(complain)
        return
    driver.gate = _owners_gate(platform, complain)
    if not (platform.directory / GUESTS_NAME).exists():
        return
    from softsgx.platform.guests import Guests  # noqa: PLC0415 -- few platforms have any

    driver.section.withhold(Guests(platform).held() // PAGE_SIZE)


def _virtual_machine(
    platform: Platform, machine: Machine, guest: "Guest", complain: Complain
) -> "VirtualMachine":
    """Return a guest as it is just after its firmware ran."""
    from softsgx.runner.guest import power_on  # noqa: PLC0415 -- few runs have one

    return power_on(platform, machine, guest, complain)


def _owners_gate(platform: Platform, complain: Complain) -> Gate:
    from softsgx.runner.gate import OwnersGate  # noqa: PLC0415 -- few runs have one

    return OwnersGate(platform.policies(), complain)


def _key_files(platform: Platform, machine: Machine) -> Iterator[View]:
    """Yield the owner's lists as files, where there is a driver to have them."""
    if platform.directory is None or not nodes(machine):
        return
    from softsgx.runner.vfs.keyfiles import key_views  # noqa: PLC0415 -- few runs have them

    yield from key_views(platform.policies(), platform.directory.stat().st_uid)


def _cgroup_files(driver: Driver, hierarchy: MountedHierarchy) -> CgroupFiles | None:
    """Return the files of cgroups, where there is an EPC to be limited."""
    if not nodes(driver.cpu):
        return None
    return CgroupFiles(driver.cgroups, hierarchy, driver.cpu.model.epc_bytes)


def _machine(platform: Platform, *, spare: bool) -> Machine:
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
