"""Count one page less that a monitor evicted from an enclave.

SDM: "EDECVIRTCHILD—Decrement VIRTCHILDCNT in SECS"
In: RBX, a page of the enclave, or its SECS; RCX, the SECS.
Faults: #GP for a misaligned operand or another enclave's SECS; #PF for a page that is
    not in the EPC, not valid, or neither a SECS nor of one.
Errors: INVALID_COUNTER.
"""

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.errors import LeafFailed, SgxError
from softsgx.encls.operand import check_aligned, set_result
from softsgx.enclv.operand import check_owner
from softsgx.machine.machine import Machine
from softsgx.machine.processor import Processor


def edecvirtchild(machine: Machine, lp: Processor) -> None:
    """Decrement VIRTCHILDCNT: a page that the monitor evicted is back."""
    # OPERANDS
    rbx, rcx = lp.regs.rbx, lp.regs.rcx
    check_aligned(rbx, PAGE_SIZE, "RBX")
    page = lp.memory.page(rbx)
    secs_page = lp.memory.page(rcx)

    # CHECKS
    enclave = check_owner(machine, page, rbx, secs_page, rcx)
    if not enclave.virtchildcnt:
        raise LeafFailed(SgxError.INVALID_COUNTER)

    # OPERATION
    enclave.virtchildcnt -= 1

    # RESULT
    set_result(lp)
