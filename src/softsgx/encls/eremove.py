"""Take a page out of its enclave, or a SECS out of the EPC.

SDM: "EREMOVE—Remove a page from the EPC"
In: RCX, the EPC page.
Faults: #GP for a misaligned operand; #PF for one outside the EPC.
Errors: CHILD_PRESENT, ENCLAVE_ACT.
"""

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.errors import LeafFailed, SgxError
from softsgx.arch.secinfo import PageType
from softsgx.encls.operand import check_aligned, has_child, set_result
from softsgx.machine.epcm import EpcmEntry
from softsgx.machine.machine import Machine
from softsgx.machine.processor import Processor


def eremove(machine: Machine, lp: Processor) -> None:
    """Make an EPC page free; one that is free already is left alone.

    A VA page, and a trimmed page that was accepted, go even while threads are inside.
    """
    # OPERANDS
    rcx = lp.regs.rcx
    check_aligned(rcx, PAGE_SIZE, "RCX")
    page = lp.memory.page(rcx)

    # CHECKS
    entry = machine.epcm[page]
    is_secs = entry.pt == PageType.SECS
    if entry.valid and is_secs and has_child(lp, machine.enclaves[page]):
        raise LeafFailed(SgxError.CHILD_PRESENT)
    if _needs_quiet(entry) and machine.enclaves[entry.enclavesecs].inside:
        raise LeafFailed(SgxError.ENCLAVE_ACT)

    # OPERATION
    if entry.valid and is_secs:
        del machine.enclaves[page]
    elif entry.valid and entry.pt != PageType.VA:
        machine.enclaves[entry.enclavesecs].children -= 1

    # EPCM
    if entry.valid:
        machine.epcm[page] = EpcmEntry()

    # RESULT
    set_result(lp)


def _needs_quiet(entry: EpcmEntry) -> bool:
    """Say whether no thread may be in the page's enclave."""
    is_accepted_trim = entry.pt == PageType.TRIM and not entry.modified
    unowned = entry.pt in (PageType.SECS, PageType.VA)
    return entry.valid and not unowned and not is_accepted_trim
