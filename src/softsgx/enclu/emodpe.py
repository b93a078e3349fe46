"""ENCLU[EMODPE]: extend a page's permissions.

SDM: "EMODPE—Extend an EPC Page Permissions"
In: RBX address of a SECINFO, RCX address of the page.
Faults: #GP for an operand misaligned, outside the enclave or reserved; #PF for a page
    that the page tables or the EPCM forbid.
Errors: none.
"""

from dataclasses import replace

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.faults import GeneralProtection
from softsgx.arch.secinfo import PageType, Secinfo, SecinfoFlags
from softsgx.enclu.operand import (
    check_aligned,
    check_within_elrange,
    page_fault,
    read_secinfo,
)
from softsgx.machine.epcm import EpcmEntry
from softsgx.machine.machine import Machine
from softsgx.machine.processor import Processor


def emodpe(machine: Machine, lp: Processor) -> None:
    """Add SECINFO's R, W and X to those of RCX's page; its page type is ignored."""
    # OPERANDS
    secinfo, target = lp.regs.rbx, lp.regs.rcx

    # CHECKS
    check_aligned(secinfo, Secinfo.ALIGN, "RBX")
    check_aligned(target, PAGE_SIZE, "RCX")
    check_within_elrange(lp, secinfo, "RBX")
    check_within_elrange(lp, target, "RCX")
    lp.memory.page(secinfo)
    page = lp.memory.page(target)
    flags = read_secinfo(machine, lp)
    entry = machine.epcm[page]
    _check_target(lp, entry, target)
    if not entry.r and not flags & SecinfoFlags.R and flags & SecinfoFlags.W:
        raise GeneralProtection("the page would be writable and not readable")

    # EPCM
    machine.epcm[page] = replace(
        entry,
        r=entry.r or bool(flags & SecinfoFlags.R),
        w=entry.w or bool(flags & SecinfoFlags.W),
        x=entry.x or bool(flags & SecinfoFlags.X),
    )


def _check_target(lp: Processor, entry: EpcmEntry, address: int) -> None:
    """Raise #PF unless the page is a regular one of this enclave, at this address."""
    if (
        not entry.valid
        or entry.pending
        or entry.modified
        or entry.blocked
        or entry.pt != PageType.REG
        or entry.enclavesecs != lp.cr_active_secs
        or entry.enclaveaddress != address
    ):
        raise page_fault(address, "the EPCM forbids to extend the page")
