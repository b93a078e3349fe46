"""ENCLU[EACCEPT]: accept what the system did to a page.

SDM: "EACCEPT—Accept Changes to an EPC Page"
In: RBX address of a SECINFO with what is expected, RCX address of the page.
Out: RAX error code; ZF set if it is not 0.
Faults: #GP for an operand misaligned, outside the enclave, reserved or no legal form,
    and for a TCS that may not be one; #PF for a page that the page tables or the EPCM
    forbid.
Errors: SGX_PAGE_ATTRIBUTES_MISMATCH, SGX_NOT_TRACKED.
"""

from dataclasses import replace

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.errors import LeafFailed, SgxError
from softsgx.arch.faults import GeneralProtection
from softsgx.arch.secinfo import PageType, Secinfo, SecinfoFlags
from softsgx.arch.tcs import Tcs, TcsFlags
from softsgx.enclu.operand import (
    check_aligned,
    check_within_elrange,
    page_fault,
    read_secinfo,
)
from softsgx.machine.epcm import EpcmEntry
from softsgx.machine.machine import Machine
from softsgx.machine.processor import Processor

_ACCEPTABLE = (PageType.REG, PageType.TCS, PageType.TRIM)
_MODIFIED = int(SecinfoFlags.MODIFIED)
_STATE = int(SecinfoFlags.PENDING | SecinfoFlags.MODIFIED | SecinfoFlags.PR)
_COMPARED = int(
    SecinfoFlags.R
    | SecinfoFlags.W
    | SecinfoFlags.X
    | SecinfoFlags.PENDING
    | SecinfoFlags.MODIFIED
    | SecinfoFlags.of(0xFF)
)
"""What SECINFO and the EPCM must agree on: all but PR, as the manual lists it."""


def eaccept(machine: Machine, lp: Processor) -> None:
    """Clear PENDING, MODIFIED and PR of RCX's page if it is what SECINFO says."""
    # OPERANDS
    secinfo, target = lp.regs.rbx, lp.regs.rcx

    # CHECKS
    check_aligned(secinfo, Secinfo.ALIGN, "RBX")
    check_within_elrange(lp, secinfo, "RBX")
    flags = read_secinfo(machine, lp)
    check_aligned(target, PAGE_SIZE, "RCX")
    check_within_elrange(lp, target, "RCX")
    page = lp.memory.page(target)
    if not _is_legal(flags):
        raise GeneralProtection("SECINFO.FLAGS is no legal request")
    entry = machine.epcm[page]
    _check_target(lp, entry, target)
    if entry.enclaveaddress != target or (entry.state ^ int(flags)) & _COMPARED:
        raise LeafFailed(SgxError.PAGE_ATTRIBUTES_MISMATCH)
    _check_tracked(machine, lp, entry)
    if entry.pt == PageType.TCS:
        _check_tcs(bytes(machine.epc.page(page)))

    # EPCM
    machine.epcm[page] = replace(entry, pending=False, modified=False, pr=False)


def _is_legal(flags: SecinfoFlags) -> bool:
    """Say whether page type, PENDING, MODIFIED and PR are a combination to accept."""
    state = int(flags) & _STATE
    if flags.page_type == PageType.REG:
        return bool(state) and not state & _MODIFIED
    if flags.page_type in (PageType.TCS, PageType.TRIM):
        return state == _MODIFIED
    return False


def _check_target(lp: Processor, entry: EpcmEntry, address: int) -> None:
    """Raise #PF unless the page is one of this enclave that can be accepted."""
    if (
        not entry.valid
        or entry.blocked
        or entry.pt not in _ACCEPTABLE
        or entry.enclavesecs != lp.cr_active_secs
    ):
        raise page_fault(address, "the EPCM forbids to accept the page")


def _check_tracked(machine: Machine, lp: Processor, entry: EpcmEntry) -> None:
    """Fail unless all threads that may know the old state left since an ETRACK.

    A page that EAUG added was never accessible: there is nothing to track.
    """
    enclave = machine.enclaves[lp.cr_active_secs]
    if (entry.modified or entry.pr) and not enclave.is_tracked(entry.epoch):
        raise LeafFailed(SgxError.NOT_TRACKED)


def _check_tcs(raw: bytes) -> None:
    """Raise #GP unless a page that becomes a TCS is one that was never entered."""
    tcs = Tcs.from_bytes(raw)
    if not Tcs.reserved_is_zero(raw):
        raise GeneralProtection("reserved bytes of the TCS are not zero")
    if tcs.flags & TcsFlags.DBGOPTIN:
        raise GeneralProtection("TCS.FLAGS.DBGOPTIN is set")
    # One without any frame, which EENTER refuses, processors accept: not as written.
    if tcs.cssa >= tcs.nssa and (tcs.cssa or tcs.nssa):
        raise GeneralProtection("TCS.CSSA is not below NSSA")
    if tcs.aep or tcs.stage:
        raise GeneralProtection("TCS.AEP or STAGE is not zero")
