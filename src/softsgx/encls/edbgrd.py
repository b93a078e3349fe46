"""Read eight bytes of a debug enclave.

SDM: "EDBGRD—Read From a Debug Enclave"
In: RCX, the quadword in the EPC.
Faults: #GP for a misaligned operand, one past the TCS, or an enclave that is not for
    debugging; #PF for a page outside the EPC, not valid, or not TCS, REG or VA.
Errors: PAGE_NOT_DEBUGGABLE.
"""

from softsgx.arch.errors import LeafFailed, SgxError
from softsgx.arch.faults import GeneralProtection
from softsgx.arch.secinfo import PageType
from softsgx.arch.secs import AttributeFlags
from softsgx.arch.tcs import SGX_TCS_LIMIT
from softsgx.encls.operand import (
    check_aligned,
    page_fault,
    page_offset,
    set_result,
)
from softsgx.machine.machine import Machine
from softsgx.machine.processor import Processor

_QUADWORD = 8
_SLOT_FLAGS = 0b111


def edbgrd(machine: Machine, lp: Processor) -> None:
    """Read into RBX; of a VA slot only whether it is taken, as all ones or zero."""
    # OPERANDS
    rcx = lp.regs.rcx
    check_aligned(rcx, _QUADWORD, "RCX")
    page = lp.memory.page(rcx)

    # CHECKS
    entry = machine.epcm[page]
    if not entry.valid:
        raise page_fault(rcx, "the EPC page is not valid")
    if entry.pt not in (PageType.REG, PageType.TCS, PageType.VA):
        raise page_fault(rcx, "neither a TCS, a REG nor a VA page")
    if entry.pending or entry.modified:
        raise LeafFailed(SgxError.PAGE_NOT_DEBUGGABLE, "PENDING or MODIFIED")
    offset = page_offset(rcx)
    if entry.pt == PageType.TCS and offset >= SGX_TCS_LIMIT:
        raise GeneralProtection("past the fields of the TCS")
    if entry.pt != PageType.VA:
        secs = machine.enclaves[entry.enclavesecs].secs
        if not secs.attributes.flags & AttributeFlags.DEBUG:
            raise GeneralProtection("not a debug enclave")

    # OPERATION
    raw = machine.epc.page(page)[offset : offset + _QUADWORD]
    value = int.from_bytes(raw, "little")
    if entry.pt == PageType.VA:
        value = (1 << 64) - 1 if value & ~_SLOT_FLAGS else 0

    # RESULT
    lp.regs.rbx = value
    set_result(lp)
