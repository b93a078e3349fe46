"""Add a page to an enclave that is being built.

SDM: "EADD—Add a Page to an Uninitialized Enclave"
In: RBX, a PAGEINFO; RCX, the EPC page to add.
Faults: #GP for a bad operand, page, address, or an enclave past EINIT; #PF for a
    page that is not in the EPC, in use, or not a SECS.
Errors: none.
"""

from dataclasses import replace

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.faults import GeneralProtection
from softsgx.arch.pageinfo import Pageinfo
from softsgx.arch.secinfo import PageType, Secinfo, SecinfoFlags
from softsgx.arch.secs import AttributeFlags, Secs
from softsgx.arch.tcs import Tcs, TcsFlags
from softsgx.encls.operand import (
    check_aligned,
    check_in_elrange,
    check_secs,
    is_initialized,
    page_fault,
)
from softsgx.machine.epcm import EpcmEntry
from softsgx.machine.machine import Machine
from softsgx.machine.processor import Processor

_LIMIT_LOW = 0xFFF


def eadd(machine: Machine, lp: Processor) -> None:
    """Copy a page in, and measure its offset and SECINFO."""
    # OPERANDS
    rbx, rcx = lp.regs.rbx, lp.regs.rcx
    check_aligned(rbx, Pageinfo.ALIGN, "RBX")
    check_aligned(rcx, PAGE_SIZE, "RCX")
    page = lp.memory.page(rcx)
    pageinfo = Pageinfo.from_bytes(lp.memory.load(rbx, Pageinfo.SIZE))
    linaddr = pageinfo.linaddr

    # CHECKS
    check_aligned(pageinfo.srcpge, PAGE_SIZE, "SRCPGE")
    check_aligned(pageinfo.secs, PAGE_SIZE, "SECS")
    check_aligned(pageinfo.secinfo, Secinfo.ALIGN, "SECINFO")
    check_aligned(linaddr, PAGE_SIZE, "LINADDR")
    secs_page = lp.memory.page(pageinfo.secs)
    secinfo = lp.memory.load(pageinfo.secinfo, Secinfo.SIZE)
    flags = Secinfo.from_bytes(secinfo).flags
    if flags.has_reserved or not Secinfo.reserved_is_zero(secinfo):
        raise GeneralProtection("reserved bits of SECINFO are set")
    if flags.page_type not in (PageType.REG, PageType.TCS):
        raise GeneralProtection("SECINFO is neither of a TCS nor of a REG page")
    if machine.epcm[page].valid:
        raise page_fault(rcx, "the EPC page is in use", write=True)
    enclave = check_secs(machine, secs_page, pageinfo.secs)
    contents = lp.memory.load(pageinfo.srcpge, PAGE_SIZE)
    if flags.page_type == PageType.TCS:
        _check_tcs(contents, enclave.secs)
    elif flags & SecinfoFlags.W and not flags & SecinfoFlags.R:
        raise GeneralProtection("a page that is writable but not readable")
    check_in_elrange(enclave, linaddr)
    if is_initialized(enclave):
        raise GeneralProtection("the enclave is initialized")

    # OPERATION
    if flags.page_type == PageType.TCS:
        flags = SecinfoFlags(flags & ~0b111)
        contents = _fresh_tcs(contents)
    machine.epc.page(page)[:] = contents
    enclave.children += 1

    # MEASUREMENT
    measured = flags.to_bytes(8, "little") + secinfo[8:]
    enclave.measurement.eadd(linaddr - enclave.secs.baseaddr, measured)

    # EPCM
    machine.epcm[page] = EpcmEntry(
        valid=True,
        r=bool(flags & SecinfoFlags.R),
        w=bool(flags & SecinfoFlags.W),
        x=bool(flags & SecinfoFlags.X),
        pt=flags.page_type,
        enclavesecs=secs_page,
        enclaveaddress=linaddr,
    )


def _check_tcs(raw: bytes, secs: Secs) -> None:
    tcs = Tcs.from_bytes(raw)
    if not Tcs.reserved_is_zero(raw):
        raise GeneralProtection("reserved bytes of TCS are not zero")
    if secs.attributes.flags & AttributeFlags.MODE64BIT:
        return
    for limit in (tcs.fslimit, tcs.gslimit):
        if limit & _LIMIT_LOW != _LIMIT_LOW:
            raise GeneralProtection("FSLIMIT or GSLIMIT does not end a page")


def _fresh_tcs(raw: bytes) -> bytes:
    tcs = Tcs.from_bytes(raw)
    flags = TcsFlags(tcs.flags & ~TcsFlags.DBGOPTIN)
    return bytes(replace(tcs, stage=0, flags=flags, cssa=0, aep=0))
