"""Add a version array: a page of slots for the versions of evicted pages.

SDM: "EPA—Add Version Array"
In: RBX, PT_VA; RCX, the EPC page to add.
Faults: #GP for another RBX or a misaligned operand; #PF for a page that is not in the
    EPC or in use.
Errors: none.
"""

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.faults import GeneralProtection
from softsgx.arch.secinfo import PageType
from softsgx.encls.operand import check_aligned, page_fault
from softsgx.machine.epcm import EpcmEntry
from softsgx.machine.machine import Machine
from softsgx.machine.processor import Processor


def epa(machine: Machine, lp: Processor) -> None:
    """Make an EPC page 512 empty slots; it belongs to no enclave."""
    # OPERANDS
    rbx, rcx = lp.regs.rbx, lp.regs.rcx
    if rbx != PageType.VA:
        raise GeneralProtection("RBX is not PT_VA")
    check_aligned(rcx, PAGE_SIZE, "RCX")
    page = lp.memory.page(rcx)

    # CHECKS
    if machine.epcm[page].valid:
        raise page_fault(rcx, "the EPC page is in use", write=True)

    # OPERATION
    machine.epc.page(page)[:] = bytes(PAGE_SIZE)

    # EPCM
    machine.epcm[page] = EpcmEntry(valid=True, pt=PageType.VA)
