"""Operands of the leaves: where they must lie, and what the EPCM must say of them."""

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.errors import LeafFailed, SgxError
from softsgx.arch.faults import (
    PFEC_P,
    PFEC_SGX,
    PFEC_W,
    GeneralProtection,
    PageFault,
)
from softsgx.arch.secinfo import PageType
from softsgx.arch.vmx import Conflict, ExitReason, VmExit
from softsgx.machine.enclave import EnclaveState
from softsgx.machine.machine import Machine
from softsgx.machine.processor import RFLAGS_ARITHMETIC, RFLAGS_ZF, Processor

_CANONICAL_BIT = 47

CHILDREN = (PageType.REG, PageType.TCS, PageType.TRIM)
"""Types of the pages that have a SECS."""


def is_canonical(address: int) -> bool:
    """Say whether bits 63:47 of a 64-bit linear address are equal."""
    return address >> _CANONICAL_BIT in (0, 0x1FFFF)


def check_aligned(address: int, alignment: int, what: str) -> None:
    """Raise #GP unless *address* is canonical and a multiple of *alignment* bytes."""
    if not is_canonical(address):
        raise GeneralProtection(f"{what} {address:#x} is not canonical")
    if address & (alignment - 1):
        raise GeneralProtection(f"{what} {address:#x} is not {alignment}-byte aligned")


def page_fault(address: int, reason: str, *, write: bool = False) -> PageFault:
    """Return the #PF of a page that the EPCM does not allow for this leaf."""
    return PageFault(address, PFEC_P | PFEC_SGX | (PFEC_W if write else 0), reason)


def check_secs(machine: Machine, page: int, address: int) -> EnclaveState:
    """Raise #PF at *address* unless the EPC page is a SECS; return its enclave."""
    entry = machine.epcm[page]
    if not entry.valid or entry.pt != PageType.SECS:
        raise page_fault(address, "not a SECS page")
    return machine.enclaves[page]


def check_va(machine: Machine, page: int, address: int) -> None:
    """Raise #PF at *address* unless the EPC page is a version array."""
    entry = machine.epcm[page]
    if not entry.valid or entry.pt != PageType.VA:
        raise page_fault(address, "not a VA page")


def has_child(lp: Processor, enclave: EnclaveState) -> bool:
    """Say whether a SECS has pages; in a guest also those that its monitor evicted."""
    virtual = enclave.virtchildcnt if lp.has_epc_virtualization else 0
    return bool(enclave.children or virtual)


def check_tracked(lp: Processor, enclave: EnclaveState) -> None:
    """Raise PREV_TRK_INCMPL, or leave the guest, unless the last cycle is over."""
    if not enclave.is_tracking():
        return
    if lp.has_epc_virtualization:
        code = Conflict.TRACKING_REFERENCE_CONFLICT
        raise VmExit(ExitReason.SGX_CONFLICT, code, enclave.enclavecontext)
    raise LeafFailed(SgxError.PREV_TRK_INCMPL)


def check_writable(lp: Processor, address: int, size: int) -> None:
    """Raise #PF unless *size* bytes outside can be written; writes what is there."""
    lp.memory.store(address, lp.memory.load(address, size))


def check_in_elrange(enclave: EnclaveState, linaddr: int) -> None:
    """Raise #GP unless a page's linear address lies in the enclave's range."""
    if not enclave.contains(linaddr):
        raise GeneralProtection(f"LINADDR {linaddr:#x} is outside ELRANGE")


def is_initialized(enclave: EnclaveState) -> bool:
    """Say whether EINIT has been done."""
    return enclave.is_initialized()


def page_offset(address: int) -> int:
    """Return an address' offset in its page."""
    return address & (PAGE_SIZE - 1)


def set_result(lp: Processor, error: SgxError = SgxError.SUCCESS) -> None:
    """Put a leaf's error code into RAX and, as ZF, into the cleared flags."""
    lp.regs.rax = int(error)
    lp.regs.rflags &= ~RFLAGS_ARITHMETIC
    if error:
        lp.regs.rflags |= RFLAGS_ZF
