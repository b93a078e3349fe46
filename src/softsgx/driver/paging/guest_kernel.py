"""Ring 0 of a guest whose monitor may have pages of its EPC out.

What its leaves need is brought back before, and stays until they are done.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from softsgx import encls
from softsgx.arch.leaves import Encls
from softsgx.arch.vmx import VmExit
from softsgx.driver.kernel import Execute, Kernel
from softsgx.encls.swap import Image, In, Out
from softsgx.machine.machine import Machine
from softsgx.machine.memory import FlatMemory
from softsgx.machine.processor import Controls, Processor

if TYPE_CHECKING:
    from softsgx.driver.paging.pager import Pager


class _Physical(FlatMemory):
    """A guest's memory, whose monitor brings a page before a leaf sees it."""

    def __init__(self, epc_pages: int, kernel: "GuestKernel"):
        super().__init__(epc_pages)
        self._kernel = kernel

    def page(self, address: int, *, write: bool = False) -> int:
        """Return the EPC page at an address, which is there then."""
        number = super().page(address, write=write)
        self._kernel.reach(number)
        return number


class GuestKernel(Kernel):
    """A guest's ring 0, over an EPC of which *pager* may have pages out."""

    def __init__(self, machine: Machine, execute: Execute = encls.execute):
        super().__init__(machine, execute)
        self.pager: Pager | None = None
        self._memory = _Physical(machine.epc.limit, self)
        self._lp = Processor.kernel(self._memory, processor=-1)
        self._lp.vmx = True
        self._lp.controls = Controls(epc_virtualization_extensions=True)

    def reach(self, page: int) -> None:
        """See that a page is in the EPC, until the leaf is done."""
        if self.pager:
            self.pager.hold(page)

    def eblock_run(self, pages: Sequence[int]) -> int:
        """ENCLS[EBLOCK] of pages in order; return how many it blocked."""
        with self._holding(pages):
            return super().eblock_run(pages)

    def ewb_run(self, outs: list[Out]) -> list[Image]:
        """ENCLS[EWB] of pages in order; return the images of those that went."""
        needed = [out.page for out in outs] + [out.va_page for out in outs]
        with self._holding(needed):
            return super().ewb_run(outs)

    def eldu_run(self, loads: list[In]) -> list[bytes]:
        """ENCLS[ELDU] of pages in order; return the contents of those that came."""
        needed = [load.secs_page for load in loads if load.secs_page is not None]
        with self._holding([*needed, *(load.va_page for load in loads)]):
            return super().eldu_run(loads)

    def eadd_run(
        self,
        secs: int,
        run: tuple[int, int],
        linaddr: int,
        secinfo: bytes,
        *,
        measured: bool,
    ) -> None:
        """ENCLS[EADD] of a run with its contents in place."""
        with self._holding([secs]):
            super().eadd_run(secs, run, linaddr, secinfo, measured=measured)

    @contextmanager
    def _holding(self, pages: Iterable[int]) -> Iterator[None]:
        for page in dict.fromkeys(pages):
            self.reach(page)
        try:
            yield
        finally:
            self._let_go()

    def _let_go(self) -> None:
        if self.pager:
            self.pager.let_go()

    def _leaf(self, leaf: Encls, *, rbx: int = 0, rcx: int = 0, rdx: int = 0) -> int:
        try:
            return super()._leaf(leaf, rbx=rbx, rcx=rcx, rdx=rdx)
        except VmExit as conflict:
            if not self.pager:
                raise
            # Threads from before the cycle are inside still: the monitor kicks them.
            self.pager.kick(conflict.guest_physical)
            return super()._leaf(leaf, rbx=rbx, rcx=rcx, rdx=rdx)
        finally:
            self._let_go()
