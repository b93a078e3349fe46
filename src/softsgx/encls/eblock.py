"""Block a page: no new translation of it may be made.

SDM: "EBLOCK—Mark a page in EPC as Blocked"
In: RCX, the EPC page.
Faults: #GP for a misaligned operand; #PF for one outside the EPC.
Errors: PG_INVLD with ZF; PG_IS_SECS, NOTBLOCKABLE and BLSTATE with CF.
"""

from dataclasses import replace

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.errors import LeafFailed, SgxError
from softsgx.arch.secinfo import PageType
from softsgx.encls.operand import check_aligned, set_result
from softsgx.machine.machine import Machine
from softsgx.machine.processor import Processor


def eblock(machine: Machine, lp: Processor) -> None:
    """Set BLOCKED, in the enclave's present epoch."""
    # OPERANDS
    rcx = lp.regs.rcx
    check_aligned(rcx, PAGE_SIZE, "RCX")
    page = lp.memory.page(rcx)

    # CHECKS
    entry = machine.epcm[page]
    if not entry.valid:
        raise LeafFailed(SgxError.PG_INVLD)
    if entry.pt == PageType.SECS:
        raise LeafFailed(SgxError.PG_IS_SECS)
    if entry.pt not in (PageType.REG, PageType.TCS, PageType.TRIM):
        raise LeafFailed(SgxError.NOTBLOCKABLE)
    if entry.blocked:
        raise LeafFailed(SgxError.BLSTATE)

    # EPCM
    epoch = machine.enclaves[entry.enclavesecs].epoch
    machine.epcm[page] = replace(entry, blocked=True, epoch=epoch)

    # RESULT
    set_result(lp)
