"""Ring 0 twice over: a monitor's in VMX root operation, and its guest's.

The monitor has leaves for pages that it takes from under a guest, and meets what its
guest's leaves cannot do without it.
"""

import errno
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from softsgx import encls, enclv
from softsgx.arch.leaves import Encls, Enclv
from softsgx.arch.pageinfo import Pageinfo
from softsgx.arch.rdinfo import Rdinfo
from softsgx.arch.vmx import VmExit
from softsgx.driver.errnos import refuse
from softsgx.driver.kernel import Execute, Kernel
from softsgx.encls.swap import Image, In, Out
from softsgx.machine.machine import Machine
from softsgx.machine.memory import FlatMemory, epc_address
from softsgx.machine.paging import SLOT_SIZE
from softsgx.machine.processor import Controls, Processor

if TYPE_CHECKING:
    from softsgx.driver.paging.pager import Pager

_RDINFO, _PCMD, _SRCPGE, _CONTEXT = 0x8000, 0x9000, 0xA000, 0xB000
"""Where a monitor's memory holds the operands of its leaves."""


class Monitor(Kernel):
    """Ring 0 of a monitor that gives its guests more EPC than there is."""

    def __init__(self, machine: Machine):
        super().__init__(machine)
        self._lp.vmx = True

    def erdinfo(self, page: int) -> Rdinfo:
        """ENCLS[ERDINFO], of a valid page."""
        rdinfo = bytearray(Rdinfo.SIZE)
        self._memory.put(_RDINFO, rdinfo)
        self._leaf(Encls.ERDINFO, rbx=_RDINFO, rcx=epc_address(page))
        return Rdinfo.from_bytes(bytes(rdinfo))

    def etrackc(self, page: int) -> int:
        """ENCLS[ETRACKC], of the enclave that a page is of."""
        return self._leaf(Encls.ETRACKC, rcx=epc_address(page))

    def eldc(self, load: In, *, blocked: bool) -> None:
        """ENCLS[ELDUC], or ELDBC for a page that was blocked; EIO: it is another."""
        secs = 0 if load.secs_page is None else epc_address(load.secs_page)
        self._memory.put(_SRCPGE, bytes(load.srcpge))
        self._memory.put(_PCMD, bytes(load.pcmd))
        info = Pageinfo(linaddr=load.linaddr, srcpge=_SRCPGE, secinfo=_PCMD, secs=secs)
        self._memory.put(_RDINFO, bytes(info))
        slot = epc_address(load.va_page) + load.slot * SLOT_SIZE
        leaf = Encls.ELDBC if blocked else Encls.ELDUC
        code = self._leaf(leaf, rbx=_RDINFO, rcx=epc_address(load.page), rdx=slot)
        if code:
            raise refuse(errno.EIO, f"{leaf.name}: {code}")

    def eincvirtchild(self, page: int, secs: int) -> None:
        """ENCLV[EINCVIRTCHILD]."""
        self._enclv(Enclv.EINCVIRTCHILD, rbx=epc_address(page), rcx=epc_address(secs))

    def edecvirtchild(self, page: int, secs: int) -> None:
        """ENCLV[EDECVIRTCHILD]."""
        self._enclv(Enclv.EDECVIRTCHILD, rbx=epc_address(page), rcx=epc_address(secs))

    def esetcontext(self, secs: int, address: int) -> None:
        """ENCLV[ESETCONTEXT]: the address under which the guest knows a SECS."""
        self._memory.put(_CONTEXT, address.to_bytes(8, "little"))
        self._enclv(Enclv.ESETCONTEXT, rcx=epc_address(secs), rdx=_CONTEXT)

    def _enclv(self, leaf: Enclv, *, rbx: int = 0, rcx: int = 0, rdx: int = 0) -> None:
        regs = self._lp.regs
        regs.rax, regs.rbx, regs.rcx, regs.rdx = leaf, rbx, rcx, rdx
        enclv.execute(self._machine, self._lp, leaf)
        if regs.rax:
            raise AssertionError(f"{leaf.name}: {regs.rax}")


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
