"""Begin a tracking cycle: note who must leave before old translations are gone.

SDM: "ETRACK—Activates EBLOCK Checks"
In: RCX, the SECS' EPC page.
Faults: #GP for a misaligned operand; #PF for one outside the EPC or not a SECS.
Errors: PREV_TRK_INCMPL; in a guest with EPC virtualization extensions a VM exit.
"""

from softsgx.arch.addr import PAGE_SIZE
from softsgx.encls.operand import (
    check_aligned,
    check_secs,
    check_tracked,
    set_result,
)
from softsgx.machine.machine import Machine
from softsgx.machine.processor import Processor


def etrack(machine: Machine, lp: Processor) -> None:
    """Begin a new epoch of the enclave, if nobody from before the last is inside."""
    # OPERANDS
    rcx = lp.regs.rcx
    check_aligned(rcx, PAGE_SIZE, "RCX")
    page = lp.memory.page(rcx)

    # CHECKS
    enclave = check_secs(machine, page, rcx)
    check_tracked(lp, enclave)

    # OPERATION
    enclave.epoch += 1

    # RESULT
    set_result(lp)
