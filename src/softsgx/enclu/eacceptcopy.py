"""ENCLU[EACCEPTCOPY]: accept an added page and fill it from another one.

SDM: "EACCEPTCOPY—Initialize a Pending Page"
In: RBX address of a SECINFO, RCX address of the pending page, RDX of the source page.
Out: RAX error code; ZF set if it is not 0.
Faults: #GP for an operand misaligned, outside the enclave or reserved; #PF for a page
    that the page tables or the EPCM forbid.
Errors: SGX_PAGE_ATTRIBUTES_MISMATCH.
"""

from dataclasses import replace

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.errors import LeafFailed, SgxError
from softsgx.arch.faults import GeneralProtection
from softsgx.arch.secinfo import PageType, Secinfo, SecinfoFlags
from softsgx.enclu.operand import (
    check_aligned,
    check_page,
    check_within_elrange,
    read_secinfo,
)
from softsgx.machine.epcm import EpcmEntry
from softsgx.machine.machine import Machine
from softsgx.machine.processor import Processor


def eacceptcopy(machine: Machine, lp: Processor) -> None:
    """Copy RDX's 4096 bytes into RCX's pending page; its permissions are SECINFO's."""
    # OPERANDS
    secinfo, target, source = lp.regs.rbx, lp.regs.rcx, lp.regs.rdx

    # CHECKS
    check_aligned(secinfo, Secinfo.ALIGN, "RBX")
    check_aligned(target, PAGE_SIZE, "RCX")
    check_aligned(source, PAGE_SIZE, "RDX")
    check_within_elrange(lp, secinfo, "RBX")
    check_within_elrange(lp, target, "RCX")
    check_within_elrange(lp, source, "RDX")
    lp.memory.page(secinfo)
    page = lp.memory.page(target, write=True)
    lp.memory.page(source)
    flags = read_secinfo(machine, lp)
    if flags & SecinfoFlags.W and not flags & SecinfoFlags.R:
        raise GeneralProtection("SECINFO.FLAGS has W and not R")
    if flags.page_type != PageType.REG:
        raise GeneralProtection("SECINFO.FLAGS is not of a regular page")
    contents = check_page(machine, lp, source)
    entry = machine.epcm[page]
    if not _is_pending(lp, entry, target):
        raise LeafFailed(SgxError.PAGE_ATTRIBUTES_MISMATCH)

    # OPERATION
    machine.epc.page(page)[:] = contents

    # EPCM
    machine.epcm[page] = replace(
        entry,
        pending=False,
        r=bool(flags & SecinfoFlags.R),
        w=bool(flags & SecinfoFlags.W),
        x=bool(flags & SecinfoFlags.X),
    )


def _is_pending(lp: Processor, entry: EpcmEntry, address: int) -> bool:
    """Say whether the page is as EAUG left it, for this enclave at this address."""
    return (
        entry.valid
        and entry.pending
        and not entry.modified
        and not entry.blocked
        and entry.pt == PageType.REG
        and entry.enclavesecs == lp.cr_active_secs
        and (entry.r, entry.w, entry.x) == (True, True, False)
        and entry.enclaveaddress == address
    )
