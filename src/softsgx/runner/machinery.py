"""A Linux with SGX, and all that serves the trees of programs on it."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from softsgx.driver.encl import Encl
from softsgx.native import host, lib
from softsgx.runner.calls import Calls
from softsgx.runner.code.sites import Sites
from softsgx.runner.debuggers import Memory
from softsgx.runner.injection import Abilities, agent_config
from softsgx.runner.leaves import Leaves
from softsgx.runner.loop import Loop
from softsgx.runner.options import MASK_PF_SGX, RunOptions
from softsgx.runner.serving import Serving
from softsgx.runner.system import System
from softsgx.runner.task.files import Files, nobody
from softsgx.runner.task.turn import Turn
from softsgx.runner.tree import Tree
from softsgx.runner.vfs.paths import Paths
from softsgx.runner.vfs.views import Views

if TYPE_CHECKING:
    from softsgx.runner.tracing import Tracer


class Machinery:
    """One Linux with what serves trees of programs on it: any number of them."""

    def __init__(self, system: System):
        self.driver = driver = system.driver
        self.machine = driver.machine
        self.files = Files(driver, self.inherit)
        self._views = Views(driver.cpu, more=system.lists, found=system.cgroups)
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
        paths = Paths(self._views, self.files, options.first)
        calls = Calls(self.driver, self.files, paths, leaves, self._sites, tracer)
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
