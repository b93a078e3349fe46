"""Add a zeroed page to a running enclave, which must accept it.

SDM: "EAUG—Add a Page to an Initialized Enclave"
In: RBX, a PAGEINFO; RCX, the EPC page to add.
Faults: #GP for a bad operand or address, or an enclave before EINIT; #PF for a page
    that is not in the EPC, in use, or not a SECS.
Errors: none.
"""

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.faults import GeneralProtection
from softsgx.arch.pageinfo import Pageinfo
from softsgx.arch.secinfo import PageType, Secinfo
from softsgx.encls.operand import (
    check_aligned,
    check_in_elrange,
    check_secs,
    is_initialized,
    page_fault,
)
from softsgx.machine.epcm import EpcmEntry
from softsgx.machine.machine import Machine
from softsgx.machine.processor import Processor


def eaug(machine: Machine, lp: Processor) -> None:
    """Add a REG page, readable, writable and pending.

    A SECINFO can only ask for a shadow stack, which needs CET: here it is #GP.
    """
    # OPERANDS
    rbx, rcx = lp.regs.rbx, lp.regs.rcx
    check_aligned(rbx, Pageinfo.ALIGN, "RBX")
    check_aligned(rcx, PAGE_SIZE, "RCX")
    page = lp.memory.page(rcx)
    pageinfo = Pageinfo.from_bytes(lp.memory.load(rbx, Pageinfo.SIZE))
    linaddr = pageinfo.linaddr

    # CHECKS
    check_aligned(pageinfo.secinfo, Secinfo.ALIGN, "SECINFO")
    check_aligned(pageinfo.secs, PAGE_SIZE, "SECS")
    check_aligned(linaddr, PAGE_SIZE, "LINADDR")
    if pageinfo.srcpge:
        raise GeneralProtection("SRCPGE of PAGEINFO is not zero")
    secs_page = lp.memory.page(pageinfo.secs)
    if machine.epcm[page].valid:
        raise page_fault(rcx, "the EPC page is in use", write=True)
    if pageinfo.secinfo:
        lp.memory.load(pageinfo.secinfo, Secinfo.SIZE)
        raise GeneralProtection("SECINFO of PAGEINFO on a processor without CET")
    enclave = check_secs(machine, secs_page, pageinfo.secs)
    if not is_initialized(enclave):
        raise GeneralProtection("the enclave is not initialized")
    check_in_elrange(enclave, linaddr)

    # OPERATION
    machine.epc.page(page)[:] = bytes(PAGE_SIZE)
    enclave.children += 1

    # EPCM
    machine.epcm[page] = EpcmEntry(
        valid=True,
        r=True,
        w=True,
        pt=PageType.REG,
        enclavesecs=secs_page,
        enclaveaddress=linaddr,
        pending=True,
        epoch=enclave.epoch,
    )
