"""Restrict the permissions of a page of a running enclave, which must accept it.

SDM: "EMODPR—Restrict the Permissions of an EPC Page"
In: RBX, a SECINFO; RCX, the EPC page.
Faults: #GP for a bad operand or an enclave before EINIT; #PF for a page that is not
    in the EPC, not valid, or not REG.
Errors: PAGE_NOT_MODIFIABLE.
"""

from dataclasses import replace

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.errors import LeafFailed, SgxError
from softsgx.arch.faults import GeneralProtection
from softsgx.arch.secinfo import PageType, Secinfo, SecinfoFlags
from softsgx.encls.operand import (
    check_aligned,
    is_initialized,
    page_fault,
    set_result,
)
from softsgx.machine.machine import Machine
from softsgx.machine.processor import Processor


def emodpr(machine: Machine, lp: Processor) -> None:
    """Keep only the permissions that SECINFO has too, and set PR."""
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
    if flags & SecinfoFlags.W and not flags & SecinfoFlags.R:
        raise GeneralProtection("a page that is writable but not readable")
    entry = machine.epcm[page]
    if not entry.valid:
        raise page_fault(rcx, "the EPC page is not valid")
    if entry.pending or entry.modified:
        raise LeafFailed(SgxError.PAGE_NOT_MODIFIABLE, "PENDING or MODIFIED")
    if entry.pt != PageType.REG:
        raise page_fault(rcx, "not a REG page")
    enclave = machine.enclaves[entry.enclavesecs]
    if not is_initialized(enclave):
        raise GeneralProtection("the enclave is not initialized")

    # EPCM
    machine.epcm[page] = replace(
        entry,
        r=entry.r and bool(flags & SecinfoFlags.R),
        w=entry.w and bool(flags & SecinfoFlags.W),
        x=entry.x and bool(flags & SecinfoFlags.X),
        pr=True,
        epoch=enclave.epoch,
    )

    # RESULT
    set_result(lp)
