"""Begin a tracking cycle of a page's enclave, beside others that do the same.

SDM: "ETRACKC—Activates EBLOCK Checks"
In: RCX, the EPC page: one of the enclave's, or its SECS.
Faults: #GP for a misaligned operand; #PF for one outside the EPC.
Errors: PG_INVLD and PREV_TRK_INCMPL with ZF; in a guest with EPC virtualization
    extensions the latter is a VM exit.  TRACK_NOT_REQUIRED with CF.
"""

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.errors import LeafFailed, SgxError
from softsgx.arch.secinfo import PageType
from softsgx.encls.operand import (
    CHILDREN,
    check_aligned,
    check_tracked,
    set_result,
)
from softsgx.machine.machine import Machine
from softsgx.machine.processor import Processor


def etrackc(machine: Machine, lp: Processor) -> None:
    """Begin a new epoch of the enclave, if nobody from before the last is inside."""
    # OPERANDS
    rcx = lp.regs.rcx
    check_aligned(rcx, PAGE_SIZE, "RCX")
    page = lp.memory.page(rcx)

    # CHECKS
    entry = machine.epcm[page]
    if not entry.valid:
        raise LeafFailed(SgxError.PG_INVLD)
    if entry.pt not in (*CHILDREN, PageType.SECS):
        raise LeafFailed(SgxError.TRACK_NOT_REQUIRED)
    secs_page = page if entry.pt == PageType.SECS else entry.enclavesecs
    enclave = machine.enclaves[secs_page]
    check_tracked(lp, enclave)

    # OPERATION
    enclave.epoch += 1

    # RESULT
    set_result(lp)
