"""Ring 0 of a monitor, in VMX root operation: the leaves for pages under a guest."""

import errno

from softsgx import enclv
from softsgx.arch.leaves import Encls, Enclv
from softsgx.arch.pageinfo import Pageinfo
from softsgx.arch.rdinfo import Rdinfo
from softsgx.driver.errnos import refuse
from softsgx.driver.kernel import Kernel
from softsgx.encls.swap import In
from softsgx.machine.machine import Machine
from softsgx.machine.memory import epc_address
from softsgx.machine.paging import SLOT_SIZE

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
