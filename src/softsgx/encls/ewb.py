"""Write a page out of the EPC: encrypted, with a MAC, its version kept in a slot.

SDM: "EWB—Invalidate an EPC Page and Write out to Main Memory"
In: RBX, a PAGEINFO, whose SECINFO is the address of a PCMD; RCX, the EPC page; RDX,
    a slot of a VA page.
Faults: #GP for a bad operand, or a slot in the page itself; #PF for a page that is not
    in the EPC or not valid, for a slot that is not in a VA page, and for memory outside
    that cannot be written.
Errors: PAGE_NOT_BLOCKED, NOT_TRACKED and CHILD_PRESENT with ZF.  VA_SLOT_OCCUPIED, with
    CF, is told when all is done: what the slot held is lost, and with it its page.
"""

from dataclasses import replace

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.errors import LeafFailed, SgxError
from softsgx.arch.faults import GeneralProtection
from softsgx.arch.pageinfo import Pageinfo, Pcmd
from softsgx.arch.secinfo import PageType, Secinfo
from softsgx.encls.operand import (
    check_aligned,
    check_va,
    check_writable,
    has_child,
    is_initialized,
    page_fault,
    page_offset,
    set_result,
)
from softsgx.machine.epcm import EpcmEntry
from softsgx.machine.machine import Machine
from softsgx.machine.paging import (
    SLOT_SIZE,
    header_of,
    secinfo_flags,
    secs_bytes,
)
from softsgx.machine.processor import Processor


def ewb(machine: Machine, lp: Processor) -> None:
    """Evict a page that is blocked and tracked, a SECS without pages, or a VA page."""
    # OPERANDS
    rbx, rcx, rdx = lp.regs.rbx, lp.regs.rcx, lp.regs.rdx
    check_aligned(rbx, Pageinfo.ALIGN, "RBX")
    check_aligned(rcx, PAGE_SIZE, "RCX")
    page = lp.memory.page(rcx)
    check_aligned(rdx, SLOT_SIZE, "RDX")
    va_page = lp.memory.page(rdx)
    if va_page == page:
        raise GeneralProtection("RCX and RDX are in the same EPC page")
    pageinfo = Pageinfo.from_bytes(lp.memory.load(rbx, Pageinfo.SIZE))
    srcpge, pcmd_at = pageinfo.srcpge, pageinfo.secinfo

    # CHECKS
    if pageinfo.linaddr or pageinfo.secs:
        raise GeneralProtection("LINADDR or SECS of PAGEINFO is not zero")
    check_aligned(pcmd_at, Pcmd.ALIGN, "PCMD")
    check_aligned(srcpge, PAGE_SIZE, "SRCPGE")
    entry = machine.epcm[page]
    if not entry.valid:
        raise page_fault(rcx, "the EPC page is not valid")
    check_va(machine, va_page, rdx)
    _check_evictable(machine, lp, page, entry)
    for address, size in (
        (rbx, Pageinfo.SIZE),
        (pcmd_at, Pcmd.SIZE),
        (srcpge, PAGE_SIZE),
    ):
        check_writable(lp, address, size)

    # OPERATION
    contents, eid, enclaveid = _identify(machine, page, entry)
    pcmd = replace(
        Pcmd.zero(), secinfo=Secinfo(flags=secinfo_flags(entry)), enclaveid=enclaveid
    )
    header = header_of(bytes(pcmd), entry.enclaveaddress, eid)
    version = machine.package.paging.next_version()
    sealed = machine.package.paging.encrypt(version, bytes(header), contents)
    lp.memory.store(srcpge, sealed[:PAGE_SIZE])
    lp.memory.store(pcmd_at, bytes(replace(pcmd, mac=sealed[PAGE_SIZE:])))
    lp.memory.store(rbx, bytes(replace(pageinfo, linaddr=entry.enclaveaddress)))
    start = page_offset(rdx)
    slot = machine.epc.page(va_page)[start : start + SLOT_SIZE]
    occupied = any(slot)
    slot[:] = version.to_bytes(SLOT_SIZE, "little")
    _release(machine, page, entry)

    # EPCM
    machine.epcm[page] = EpcmEntry()

    # RESULT
    if occupied:
        raise LeafFailed(SgxError.VA_SLOT_OCCUPIED)
    set_result(lp)


def _check_evictable(
    machine: Machine, lp: Processor, page: int, entry: EpcmEntry
) -> None:
    # That EBLOCK was done in an epoch of this SECS, else #GP, holds by construction.
    if entry.pt == PageType.SECS:
        if has_child(lp, machine.enclaves[page]):
            raise LeafFailed(SgxError.CHILD_PRESENT)
        return
    if entry.pt == PageType.VA:
        return
    if not entry.blocked:
        raise LeafFailed(SgxError.PAGE_NOT_BLOCKED)
    if not machine.enclaves[entry.enclavesecs].is_tracked(entry.epoch):
        raise LeafFailed(SgxError.NOT_TRACKED)


def _identify(
    machine: Machine, page: int, entry: EpcmEntry
) -> tuple[bytes | memoryview, int, int]:
    """Return the contents to encrypt, the EID they are bound to, and PCMD.ENCLAVEID."""
    if entry.pt == PageType.SECS:
        enclave = machine.enclaves[page]
        return secs_bytes(enclave), 0, enclave.eid
    if entry.pt == PageType.VA:
        return machine.epc.page(page), 0, 0
    eid = machine.enclaves[entry.enclavesecs].eid
    return machine.epc.page(page), eid, eid


def _release(machine: Machine, page: int, entry: EpcmEntry) -> None:
    """Take the page from its enclave, or the enclave from the EPC."""
    if entry.pt == PageType.SECS:
        enclave = machine.enclaves.pop(page)
        if not is_initialized(enclave):
            machine.measuring[enclave.eid] = enclave.measurement
    elif entry.pt != PageType.VA:
        machine.enclaves[entry.enclavesecs].children -= 1
