"""Read what the EPCM and the SECS say of a page.

SDM: "ERDINFO—Read Type and Status Information About an EPC Page"
In: RBX, an RDINFO to fill; RCX, the EPC page.
Faults: #GP for a misaligned operand; #PF for memory that cannot be read or written.
Errors: PG_NONEPC and PG_INVLD, with CF.
"""

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.errors import LeafFailed, SgxError
from softsgx.arch.faults import PageFault
from softsgx.arch.rdinfo import RDINFO_BLOCKED, Rdinfo, RdinfoStatus
from softsgx.arch.secinfo import PageType
from softsgx.encls.operand import CHILDREN, check_aligned, has_child, set_result
from softsgx.machine.epcm import EpcmEntry
from softsgx.machine.machine import Machine
from softsgx.machine.paging import secinfo_flags
from softsgx.machine.processor import Processor


def erdinfo(machine: Machine, lp: Processor) -> None:
    """Write type, state and ENCLAVECONTEXT of a page, and whether a SECS has pages."""
    # OPERANDS
    rbx, rcx = lp.regs.rbx, lp.regs.rcx
    check_aligned(rbx, Rdinfo.ALIGN, "RBX")
    check_aligned(rcx, PAGE_SIZE, "RCX")
    page = _epc_page(lp, rcx)

    # CHECKS
    entry = machine.epcm[page]
    if not entry.valid:
        raise LeafFailed(SgxError.PG_INVLD)

    # RESULT
    status, context = _owner(machine, lp, page, entry)
    flags = secinfo_flags(entry) | (RDINFO_BLOCKED if entry.blocked else 0)
    rdinfo = Rdinfo(status=status, flags=int(flags), enclavecontext=context)
    lp.memory.store(rbx, bytes(rdinfo))
    set_result(lp)


def _epc_page(lp: Processor, address: int) -> int:
    try:
        return lp.memory.page(address)
    except PageFault:
        # Memory all the same, or a fault of the page tables?
        lp.memory.load(address, 1)
        raise LeafFailed(SgxError.PG_NONEPC) from None


def _owner(
    machine: Machine, lp: Processor, page: int, entry: EpcmEntry
) -> tuple[RdinfoStatus, int]:
    """Return STATUS and ENCLAVECONTEXT; a guest does not learn a SECS' own context."""
    status = RdinfoStatus(0)
    if entry.pt in CHILDREN:
        return status, machine.enclaves[entry.enclavesecs].enclavecontext
    if entry.pt != PageType.SECS:
        return status, 0
    enclave = machine.enclaves[page]
    if has_child(lp, enclave):
        status |= RdinfoStatus.CHILDPRESENT
    if lp.has_epc_virtualization:
        return status, 0
    if enclave.virtchildcnt:
        status |= RdinfoStatus.VIRTCHILDPRESENT
    return status, enclave.enclavecontext
