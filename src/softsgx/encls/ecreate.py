"""Make a SECS: begin to build an enclave.

SDM: "ECREATE—Create an SECS page in the Enclave Page Cache"
In: RBX, a PAGEINFO; RCX, the EPC page to become the SECS.
Faults: #GP for a bad operand or a SECS that this processor cannot run; #PF for a
    page that is not in the EPC or in use.
Errors: none.
"""

from dataclasses import replace

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.faults import GeneralProtection
from softsgx.arch.pageinfo import Pageinfo
from softsgx.arch.secinfo import PageType, Secinfo
from softsgx.arch.secs import (
    XFRM_LEGACY,
    AttributeFlags,
    Attributes,
    Miscselect,
    Secs,
)
from softsgx.arch.ssa import Exinfo, Gprsgx
from softsgx.encls.operand import check_aligned, is_canonical, page_fault
from softsgx.machine.enclave import EnclaveState
from softsgx.machine.epcm import EpcmEntry
from softsgx.machine.machine import Machine
from softsgx.machine.measurement import Measurement
from softsgx.machine.model import Model, physical_address
from softsgx.machine.processor import Processor

_SIZE_MIN = 2 * PAGE_SIZE


def ecreate(machine: Machine, lp: Processor) -> None:
    """Copy a SECS into the EPC, and begin MRENCLAVE with its sizes."""
    # OPERANDS
    rbx, rcx = lp.regs.rbx, lp.regs.rcx
    check_aligned(rbx, Pageinfo.ALIGN, "RBX")
    check_aligned(rcx, PAGE_SIZE, "RCX")
    page = lp.memory.page(rcx)
    pageinfo = Pageinfo.from_bytes(lp.memory.load(rbx, Pageinfo.SIZE))

    # CHECKS
    check_aligned(pageinfo.srcpge, PAGE_SIZE, "SRCPGE")
    check_aligned(pageinfo.secinfo, Secinfo.ALIGN, "SECINFO")
    if pageinfo.linaddr or pageinfo.secs:
        raise GeneralProtection("LINADDR or SECS of PAGEINFO is not zero")
    _check_secinfo(lp.memory.load(pageinfo.secinfo, Secinfo.SIZE))
    if machine.epcm[page].valid:
        raise page_fault(rcx, "the EPC page is in use", write=True)
    raw = lp.memory.load(pageinfo.srcpge, Secs.SIZE)
    secs = Secs.from_bytes(raw)
    _check_xfrm(machine.model, secs)
    _check_cet(secs)
    if secs.miscselect & ~machine.model.miscselect:
        raise GeneralProtection("MISCSELECT selects what this processor lacks")
    if secs.ssaframesize * PAGE_SIZE < _ssa_frame_bytes(machine.model, secs):
        raise GeneralProtection("SSAFRAMESIZE is too small for XFRM and MISCSELECT")
    _check_range(machine.model, secs)
    if _has_unsupported(machine.model, secs.attributes):
        raise GeneralProtection("ATTRIBUTES sets what this processor lacks")
    if not Secs.reserved_is_zero(raw):
        raise GeneralProtection("reserved bytes of SECS are not zero")
    if not secs.attributes.flags & AttributeFlags.KSS and _uses_kss(secs):
        raise GeneralProtection("CONFIGID or CONFIGSVN without KSS")

    # OPERATION
    zeros = bytes(32)
    secs = replace(secs, mrenclave=zeros, mrsigner=zeros, isvprodid=0, isvsvn=0)
    enclave = EnclaveState(
        secs, Measurement(), machine.eids.take(), enclavecontext=physical_address(page)
    )
    machine.enclaves[page] = enclave

    # MEASUREMENT
    enclave.measurement.ecreate(secs.ssaframesize, secs.size)

    # EPCM
    machine.epcm[page] = EpcmEntry(valid=True, pt=PageType.SECS)


def _check_secinfo(raw: bytes) -> None:
    flags = Secinfo.from_bytes(raw).flags
    if flags.has_reserved or not Secinfo.reserved_is_zero(raw):
        raise GeneralProtection("reserved bits of SECINFO are set")
    if flags.page_type != PageType.SECS:
        raise GeneralProtection("SECINFO is not of a SECS")


def _check_xfrm(model: Model, secs: Secs) -> None:
    xfrm = secs.attributes.xfrm
    if xfrm & XFRM_LEGACY != XFRM_LEGACY:
        raise GeneralProtection("XFRM lacks x87 or SSE")
    if not model.is_xfrm_legal(xfrm):
        raise GeneralProtection("XSETBV would refuse XFRM")


def _check_cet(secs: Secs) -> None:
    # CPUID never enumerates CET here, and then nothing of it may be set.
    if secs.cet_attributes or secs.cet_leg_bitmap_offset:
        raise GeneralProtection("CET fields of SECS on a processor without CET")


def _ssa_frame_bytes(model: Model, secs: Secs) -> int:
    misc = Exinfo.SIZE if secs.miscselect & Miscselect.EXINFO else 0
    return model.xsave.size(secs.attributes.xfrm) + Gprsgx.SIZE + misc


def _check_range(model: Model, secs: Secs) -> None:
    mode64 = secs.attributes.flags & AttributeFlags.MODE64BIT
    if mode64 and not is_canonical(secs.baseaddr):
        raise GeneralProtection("BASEADDR is not canonical")
    if not mode64 and secs.baseaddr >> 32:
        raise GeneralProtection("BASEADDR of a 32-bit enclave is over 4 GiB")
    if secs.size >> (model.max_size_64 if mode64 else model.max_size_not64):
        raise GeneralProtection("SIZE is over the processor's limit")
    if secs.size < _SIZE_MIN or secs.size.bit_count() > 1:
        raise GeneralProtection("SIZE is no power of two from 8192 on")
    if secs.baseaddr & (secs.size - 1):
        raise GeneralProtection("BASEADDR is not aligned to SIZE")


def _has_unsupported(model: Model, attributes: Attributes) -> bool:
    return bool(attributes.flags & ~model.attributes or attributes.xfrm & ~model.xfrm)


def _uses_kss(secs: Secs) -> bool:
    return any(secs.configid) or secs.configsvn != 0
