"""Change the type of a page of a running enclave, which must accept it.

SDM: "EMODT—Change the Type of an EPC Page"
In: RBX, a SECINFO; RCX, the EPC page.
Faults: #GP for a bad operand or an enclave before EINIT; #PF for a page that is not
    in the EPC, not valid, or of a type that cannot change so.
Errors: PAGE_NOT_MODIFIABLE.
"""

from dataclasses import replace

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.errors import LeafFailed, SgxError
from softsgx.arch.faults import GeneralProtection
from softsgx.arch.secinfo import PageType, Secinfo
from softsgx.encls.operand import (
    check_aligned,
    is_initialized,
    page_fault,
    set_result,
)
from softsgx.machine.machine import Machine
from softsgx.machine.processor import Processor


def emodt(machine: Machine, lp: Processor) -> None:
    """Make a REG page a TCS, or a REG or TCS page TRIM; set MODIFIED."""
    # OPERANDS
    rbx, rcx = lp.regs.rbx, lp.regs.rcx
    check_aligned(rbx, Secinfo.ALIGN, "RBX")
    check_aligned(rcx, PAGE_SIZE, "RCX")
    page = lp.memory.page(rcx)
    secinfo = lp.memory.load(rbx, Secinfo.SIZE)
    flags = Secinfo.from_bytes(secinfo).flags

    # CHECKS
    if flags.has_reserved or not Secinfo.reserved_is_zero(secinfo):
        raise GeneralProtection("reserved bits of SECINFO are set")
    if flags.page_type not in (PageType.TCS, PageType.TRIM):
        raise GeneralProtection("SECINFO is neither of a TCS nor of a TRIM page")
    entry = machine.epcm[page]
    if not entry.valid:
        raise page_fault(rcx, "the EPC page is not valid")
    is_trimmed_tcs = entry.pt == PageType.TCS and flags.page_type == PageType.TRIM
    if entry.pt != PageType.REG and not is_trimmed_tcs:
        raise page_fault(rcx, "a page of this type cannot become one of that")
    if entry.pending or entry.modified:
        raise LeafFailed(SgxError.PAGE_NOT_MODIFIABLE, "PENDING or MODIFIED")
    enclave = machine.enclaves[entry.enclavesecs]
    if not is_initialized(enclave):
        raise GeneralProtection("the enclave is not initialized")

    # EPCM
    machine.epcm[page] = replace(
        entry,
        r=False,
        w=False,
        x=False,
        pt=flags.page_type,
        modified=True,
        pr=False,
        epoch=enclave.epoch,
    )

    # RESULT
    set_result(lp)
