"""Run one program on a platform: start it, serve it, end as it ended."""

import errno
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from softsgx.driver.device import nodes
from softsgx.driver.driver import Driver
from softsgx.driver.gate import Gate
from softsgx.driver.section import add_spare
from softsgx.machine.machine import Machine
from softsgx.machine.xsave import XsaveLayout
from softsgx.native import host, lib
from softsgx.platform.models import DEFAULT_CPU, MODELS
from softsgx.platform.platform import Platform
from softsgx.runner.calls import Calls
from softsgx.runner.debuggers import Memory
from softsgx.runner.files import Files
from softsgx.runner.injection import Abilities, agent_config
from softsgx.runner.leaves import Leaves
from softsgx.runner.loop import Loop
from softsgx.runner.options import MASK_PF_SGX, RunOptions
from softsgx.runner.quick import keep_config
from softsgx.runner.serving import Serving
from softsgx.runner.sites import Sites
from softsgx.runner.start import complain, start
from softsgx.runner.supervisor import Sgx
from softsgx.runner.tree import Tree
from softsgx.runner.views import View, Views

if TYPE_CHECKING:
    from collections.abc import Iterator

    from softsgx.runner.tracing import Tracer


def run(argv: list[str], options: RunOptions) -> int:
    """Run a program; return its exit code, or die of the signal that it died of.

    OSError says why it could not be started; native.lib.NotBuilt that we are not whole.
    """
    whole = _Whole(options)
    if options.is_plain:
        keep_config(whole.config, rewrite_cpuid=whole.rewrite_cpuid)
    return start(
        argv,
        whole.config,
        whole.sgx,
        rewrite_cpuid=whole.rewrite_cpuid,
        ended=whole.ended,
    )


def plain_sgx(loop: Loop, kept: bytes) -> Sgx:
    """Make the machine of a run without any options.

    *kept* is the agent's configuration that the run began with; OSError: it was wrong.
    """
    whole = _Whole(RunOptions(platform=Platform.ephemeral(MODELS[DEFAULT_CPU])))
    if whole.config != kept:
        keep_config(whole.config, rewrite_cpuid=whole.rewrite_cpuid)
        raise OSError(errno.ESTALE, "what earlier runs kept is out of date, run again")
    return whole.sgx(loop)


class _Whole:
    """A machine, and all that a run needs to serve programs on it."""

    def __init__(self, options: RunOptions):
        machine = _machine(options)
        self._options = options
        self._tracer = _tracer(machine, options)
        exact = options.exact or self._tracer is not None
        self._driver = driver = Driver(machine)
        if options.platform.directory is not None:
            driver.gate = _owners_gate(options.platform)
        self._files = Files(driver)
        abilities = Abilities(
            fsgsbase=host.has_fsgsbase(),
            cpuid_faulting=host.has_cpuid_faulting(),
            privileged=host.may_trace_all(),
        )
        self.rewrite_cpuid = not abilities.cpuid_faulting
        sites = Sites(driver, cpuid=self.rewrite_cpuid)
        mask_pf_sgx = MASK_PF_SGX in options.inject
        leaves = Leaves(driver, exact=exact, mask_pf_sgx=mask_pf_sgx)
        self._insiders = leaves.insiders
        views = Views(machine, more=_key_files(options.platform, machine))
        self._calls = Calls(driver, self._files, views, leaves, sites, self._tracer)
        self.config = agent_config(
            machine, self._files.device, views.listed, abilities, exact=exact
        )

    def sgx(self, loop: Loop) -> Sgx:
        """Return what answers the tree's calls."""
        tree = Tree(self._driver, self._files, loop, self._insiders)
        memory = Memory(tree, self._driver, self._calls.sites.code)
        return Serving(self._files, tree, self._calls, memory)

    def ended(self) -> None:
        """Print what was counted."""
        if self._tracer and self._options.counts:
            self._tracer.print_summary(self._options.trace or sys.stderr)


def _tracer(machine: Machine, options: RunOptions) -> "Tracer | None":
    if options.trace is None and not options.counts:
        return None
    from softsgx.runner.tracing import Tracer  # noqa: PLC0415 -- a run seldom needs it

    tracer = Tracer(options.trace)
    machine.trace = tracer.event
    return tracer


def _owners_gate(platform: Platform) -> Gate:
    from softsgx.runner.gate import OwnersGate  # noqa: PLC0415 -- few runs have one

    return OwnersGate(platform.policies(), complain)


def _key_files(platform: Platform, machine: Machine) -> "Iterator[View]":
    """Yield the owner's lists as files, where there is a driver to have them."""
    if platform.directory is None or not nodes(machine):
        return
    from softsgx.runner.keyfiles import key_views  # noqa: PLC0415 -- few runs have them

    yield from key_views(platform.policies(), platform.directory.stat().st_uid)


def _machine(options: RunOptions) -> Machine:
    """Return the platform's machine, its extended state as of this processor."""
    machine = options.platform.machine()
    layout = XsaveLayout(host.xsave_components())
    xfrm = machine.model.xfrm & lib.xcr0()
    machine.model = replace(machine.model, xsave=layout, xfrm=xfrm)
    machine.lay_out = lib.lay_out
    add_spare(machine)
    return machine
