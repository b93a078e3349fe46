"""What the leaves that load a page do alike: all but the state they leave it in.

SDM: "ELDB/ELDU/ELDBC/ELDUC—Load an EPC Page and Mark its State"
"""

from typing import NamedTuple

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.errors import LeafFailed, SgxError
from softsgx.arch.faults import GeneralProtection
from softsgx.arch.pageinfo import Pageinfo, Pcmd
from softsgx.arch.secinfo import PageType, Secinfo, SecinfoFlags
from softsgx.crypto.compare import MismatchError
from softsgx.encls.operand import (
    CHILDREN,
    check_aligned,
    check_secs,
    check_va,
    page_fault,
    page_offset,
)
from softsgx.machine.epcm import TRACKED, EpcmEntry
from softsgx.machine.machine import Machine
from softsgx.machine.model import physical_address
from softsgx.machine.paging import SLOT_SIZE, enclave_of, header_of
from softsgx.machine.processor import Processor


class Operands(NamedTuple):
    """EPC page, VA page and the slot's offset in it, PAGEINFO; RCX and RDX."""

    page: int
    va_page: int
    slot: int
    pageinfo: Pageinfo
    rcx: int
    rdx: int


class Loading(NamedTuple):
    """A page that passed all checks: its contents, flags, and where they belong."""

    page: int
    contents: bytes
    flags: SecinfoFlags
    linaddr: int
    secs_page: int


def read_operands(lp: Processor) -> Operands:
    """Read RBX, RCX and RDX up to PAGEINFO's own fields; #GP or #PF."""
    rbx, rcx, rdx = lp.regs.rbx, lp.regs.rcx, lp.regs.rdx
    check_aligned(rbx, Pageinfo.ALIGN, "RBX")
    check_aligned(rcx, PAGE_SIZE, "RCX")
    page = lp.memory.page(rcx)
    check_aligned(rdx, SLOT_SIZE, "RDX")
    va_page = lp.memory.page(rdx)
    pageinfo = Pageinfo.from_bytes(lp.memory.load(rbx, Pageinfo.SIZE))
    return Operands(page, va_page, page_offset(rdx), pageinfo, rcx, rdx)


def check_load(machine: Machine, lp: Processor, operands: Operands) -> Loading:
    """Check all that the manual does, the MAC last; return what goes into the EPC."""
    page, va_page, slot, pageinfo, rcx, rdx = operands
    check_aligned(pageinfo.secinfo, Pcmd.ALIGN, "PCMD")
    check_aligned(pageinfo.srcpge, PAGE_SIZE, "SRCPGE")
    if machine.epcm[page].valid:
        raise page_fault(rcx, "the EPC page is in use", write=True)
    check_va(machine, va_page, rdx)
    raw_pcmd = lp.memory.load(pageinfo.secinfo, Pcmd.SIZE)
    flags = Secinfo.from_bytes(raw_pcmd[: Secinfo.SIZE]).flags
    secs_page, eid = _check_parent(machine, lp, flags, pageinfo.secs)
    ciphertext = lp.memory.load(pageinfo.srcpge, PAGE_SIZE)
    header = bytes(header_of(raw_pcmd, pageinfo.linaddr, eid))
    raw_version = machine.epc.page(va_page)[slot : slot + SLOT_SIZE]
    version = int.from_bytes(raw_version, "little")
    mac = Pcmd.from_bytes(raw_pcmd).mac
    try:
        contents = machine.package.paging.decrypt(version, header, ciphertext + mac)
    except MismatchError as error:
        raise LeafFailed(SgxError.MAC_COMPARE_FAIL) from error
    return Loading(page, contents, flags, pageinfo.linaddr, secs_page)


def _check_parent(
    machine: Machine, lp: Processor, flags: SecinfoFlags, address: int
) -> tuple[int, int]:
    """Return the SECS' page and EID to which the page is bound; 0, 0 without one."""
    if flags.page_type not in CHILDREN:
        if address:
            raise GeneralProtection("SECS of PAGEINFO for a page that has none")
        return 0, 0
    check_aligned(address, PAGE_SIZE, "SECS")
    secs_page = lp.memory.page(address)
    return secs_page, check_secs(machine, secs_page, address).eid


def load(machine: Machine, operands: Operands, loading: Loading) -> None:
    """Clear the slot, put the contents in place: a SECS, or a page that is counted."""
    slot = operands.slot
    machine.epc.page(operands.va_page)[slot : slot + SLOT_SIZE] = bytes(SLOT_SIZE)
    if loading.flags.page_type == PageType.SECS:
        address = physical_address(loading.page)
        enclave = enclave_of(loading.contents, machine.measuring, address)
        machine.enclaves[loading.page] = enclave
        return
    machine.epc.page(loading.page)[:] = loading.contents
    if loading.flags.page_type != PageType.VA:
        machine.enclaves[loading.secs_page].children += 1


def loaded_entry(loading: Loading, *, blocked: bool) -> EpcmEntry:
    """Return the EPCM entry as EWB found it, but for BLOCKED."""
    flags = loading.flags
    return EpcmEntry(
        valid=True,
        r=bool(flags & SecinfoFlags.R),
        w=bool(flags & SecinfoFlags.W),
        x=bool(flags & SecinfoFlags.X),
        pt=flags.page_type,
        enclavesecs=loading.secs_page,
        enclaveaddress=loading.linaddr,
        pending=bool(flags & SecinfoFlags.PENDING),
        modified=bool(flags & SecinfoFlags.MODIFIED),
        pr=bool(flags & SecinfoFlags.PR),
        blocked=blocked and flags.page_type in CHILDREN,
        epoch=TRACKED,
    )
