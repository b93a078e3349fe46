"""Write eight bytes of a debug enclave.

SDM: "EDBGWR—Write to a Debug Enclave"
In: RBX, the value; RCX, the quadword in the EPC.
Faults: #GP for a misaligned operand, one in a TCS but not its FLAGS, or an enclave
    that is not for debugging; #PF for a page outside the EPC, not valid, or not TCS
    or REG.
Errors: PAGE_NOT_DEBUGGABLE.
"""

from softsgx.arch.errors import LeafFailed, SgxError
from softsgx.arch.faults import GeneralProtection
from softsgx.arch.secinfo import PageType
from softsgx.arch.secs import AttributeFlags
from softsgx.encls.operand import (
    check_aligned,
    page_fault,
    page_offset,
    set_result,
)
from softsgx.machine.machine import Machine
from softsgx.machine.processor import Processor

_QUADWORD = 8
_TCS_FLAGS_OFFSET = 8


def edbgwr(machine: Machine, lp: Processor) -> None:
    """Write RBX, whatever the page's permissions."""
    # OPERANDS
    rbx, rcx = lp.regs.rbx, lp.regs.rcx
    check_aligned(rcx, _QUADWORD, "RCX")
    page = lp.memory.page(rcx)

    # CHECKS
    entry = machine.epcm[page]
    if not entry.valid:
        raise page_fault(rcx, "the EPC page is not valid", write=True)
    if entry.pt not in (PageType.REG, PageType.TCS):
        raise page_fault(rcx, "neither a TCS nor a REG page", write=True)
    if entry.pending or entry.modified:
        raise LeafFailed(SgxError.PAGE_NOT_DEBUGGABLE, "PENDING or MODIFIED")
    offset = page_offset(rcx)
    if entry.pt == PageType.TCS and offset != _TCS_FLAGS_OFFSET:
        raise GeneralProtection("a field of the TCS that is not FLAGS")
    secs = machine.enclaves[entry.enclavesecs].secs
    if not secs.attributes.flags & AttributeFlags.DEBUG:
        raise GeneralProtection("not a debug enclave")

    # OPERATION
    machine.epc.page(page)[offset : offset + _QUADWORD] = rbx.to_bytes(8, "little")

    # RESULT
    set_result(lp)
