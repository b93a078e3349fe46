"""Set the address under which a guest knows a SECS.

SDM: "ESETCONTEXT—Set the ENCLAVECONTEXT Field in SECS"
In: RCX, the SECS; RDX, where the 64 bits of the context are.
Faults: #GP for a misaligned operand; #PF for memory that cannot be read, or a page that
    is not in the EPC, not valid, or not a SECS.
Errors: none.
"""

from softsgx.arch.addr import PAGE_SIZE
from softsgx.encls.operand import check_aligned, check_secs, set_result
from softsgx.machine.machine import Machine
from softsgx.machine.processor import Processor

_CONTEXT_SIZE = 8


def esetcontext(machine: Machine, lp: Processor) -> None:
    """Overwrite ENCLAVECONTEXT, which ECREATE and the loads of a SECS have set."""
    # OPERANDS
    rcx, rdx = lp.regs.rcx, lp.regs.rdx
    check_aligned(rcx, PAGE_SIZE, "RCX")
    page = lp.memory.page(rcx)
    check_aligned(rdx, _CONTEXT_SIZE, "RDX")
    context = int.from_bytes(lp.memory.load(rdx, _CONTEXT_SIZE), "little")

    # CHECKS
    enclave = check_secs(machine, page, rcx)

    # OPERATION
    enclave.enclavecontext = context

    # RESULT
    set_result(lp)
