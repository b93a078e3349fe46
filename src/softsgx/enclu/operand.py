"""Operands of the leaves: where they must lie, and what the EPCM must say of them.

SDM: "Page-Fault Exceptions".  A #PF that the EPCM causes carries P, U and SGX in its
error code, and W for a write; one that the page tables cause comes from the memory.
"""

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.faults import (
    PFEC_P,
    PFEC_SGX,
    PFEC_U,
    PFEC_W,
    GeneralProtection,
    PageFault,
)
from softsgx.arch.secinfo import PageType, Secinfo, SecinfoFlags
from softsgx.machine.epcm import EpcmEntry
from softsgx.machine.machine import Machine
from softsgx.machine.processor import Processor

PAGE_OFFSET = PAGE_SIZE - 1
ADDRESS_MASK = (1 << 64) - 1
_EPCM_FAULT = PFEC_P | PFEC_U | PFEC_SGX
_CANONICAL_BIT = 47


def page_fault(address: int, reason: str, *, write: bool = False) -> PageFault:
    """Return the #PF of an access to *address* that the EPCM forbids."""
    return PageFault(address, _EPCM_FAULT | (PFEC_W if write else 0), reason)


def is_canonical(address: int) -> bool:
    """Say whether bits 63:47 of a 64-bit linear address are equal."""
    return address >> _CANONICAL_BIT in (0, 0x1FFFF)


def check_aligned(address: int, alignment: int, register: str) -> None:
    """Raise #GP unless *address* is a multiple of *alignment* bytes."""
    if address & (alignment - 1):
        raise GeneralProtection(f"{register} is not aligned as its structure is")


def check_within_elrange(lp: Processor, address: int, register: str) -> None:
    """Raise #GP unless *address* lies in the running enclave's range."""
    base, size = lp.cr_elrange
    if not 0 <= address - base < size:
        raise GeneralProtection(f"{register} is outside ELRANGE")


def check_page(
    machine: Machine, lp: Processor, address: int, *, write: bool = False
) -> memoryview:
    """Raise #PF unless the running enclave may read or write there; return the page.

    The page must be valid and pass check_page_parameters.
    """
    page = lp.memory.page(address, write=write)
    entry = machine.epcm[page]
    if not entry.valid:
        raise page_fault(address, "the page is not valid", write=write)
    if entry.blocked:
        raise page_fault(address, "the page is blocked", write=write)
    check_page_parameters(lp, entry, address, write=write)
    return machine.epc.page(page)


def check_page_parameters(
    lp: Processor, entry: EpcmEntry, address: int, *, write: bool = False
) -> None:
    """Raise #PF unless *entry* is a usable regular page of the enclave at *address*.

    It must not be pending or modified, and must be readable, or writable.
    """
    if (
        entry.pt != PageType.REG
        or entry.enclavesecs != lp.cr_active_secs
        or entry.pending
        or entry.modified
        or entry.enclaveaddress != address & ~PAGE_OFFSET
        or not (entry.w if write else entry.r)
    ):
        raise page_fault(address, "the EPCM forbids the access", write=write)


def read_operand(page: memoryview, address: int, size: int) -> bytes:
    """Copy *size* bytes of a checked page, once."""
    start = address & PAGE_OFFSET
    return bytes(page[start : start + size])


def read_secinfo(machine: Machine, lp: Processor) -> SecinfoFlags:
    """Check and copy RBX's SECINFO, as EACCEPT, EACCEPTCOPY and EMODPE do.

    Raises #PF for its page, #GP if a reserved bit or byte is set.
    """
    address = lp.regs.rbx
    page = check_page(machine, lp, address)
    raw = read_operand(page, address, Secinfo.SIZE)
    flags = Secinfo.from_bytes(raw).flags
    if flags.has_reserved or not Secinfo.reserved_is_zero(raw):
        raise GeneralProtection("reserved fields of SECINFO are not zero")
    return flags


def write_operand(page: memoryview, address: int, data: bytes) -> None:
    """Write *data* at *address* in its checked page."""
    start = address & PAGE_OFFSET
    page[start : start + len(data)] = data
