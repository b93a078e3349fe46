"""What /dev/isgx refuses, with EINVAL, before the processor is asked."""

import errno

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.secinfo import PageType, Secinfo, SecinfoFlags
from softsgx.arch.secs import XFRM_LEGACY, AttributeFlags, Miscselect, Secs
from softsgx.arch.ssa import Exinfo, Gprsgx
from softsgx.arch.tcs import Tcs, TcsFlags
from softsgx.driver.errnos import refuse
from softsgx.driver.uapi import PROT_RWX
from softsgx.machine.model import Model

SIZE_MIN = 2 * PAGE_SIZE
"""Of an enclave, and of a mapping."""

_ATTRIBUTES = (
    AttributeFlags.DEBUG
    | AttributeFlags.MODE64BIT
    | AttributeFlags.PROVISIONKEY
    | AttributeFlags.EINITTOKENKEY
    | AttributeFlags.KSS
)
"""Those that it lets through, whether the processor has them or not."""
_XFRM_MPX = 0b11 << 3
_LIMIT_LOW = 0xFFF


def check_secs(model: Model, secs: Secs, raw: bytes) -> None:
    """Judge a SECS; what is left to ECREATE is what only the processor knows."""
    size = secs.size
    if size < SIZE_MIN or size.bit_count() != 1 or size > 1 << model.max_size_64:
        raise refuse(errno.EINVAL, f"SECS.SIZE {size:#x}")
    if secs.baseaddr % size:
        raise refuse(errno.EINVAL, f"SECS.BASEADDR {secs.baseaddr:#x}")
    flags, xfrm = secs.attributes.flags, secs.attributes.xfrm
    if flags & ~_ATTRIBUTES or not flags & AttributeFlags.MODE64BIT:
        raise refuse(errno.EINVAL, f"SECS.ATTRIBUTES {int(flags):#x}")
    if secs.miscselect & ~(model.miscselect & Miscselect.EXINFO):
        raise refuse(errno.EINVAL, f"SECS.MISCSELECT {int(secs.miscselect):#x}")
    has_half_of_mpx = xfrm & _XFRM_MPX not in (0, _XFRM_MPX)
    if xfrm & XFRM_LEGACY != XFRM_LEGACY or xfrm & ~model.xfrm or has_half_of_mpx:
        raise refuse(errno.EINVAL, f"SECS.XFRM {xfrm:#x}")
    if secs.ssaframesize * PAGE_SIZE < _frame_bytes(model, secs):
        raise refuse(errno.EINVAL, f"SECS.SSAFRAMESIZE {secs.ssaframesize}")
    is_cet = secs.cet_attributes or secs.cet_leg_bitmap_offset
    if is_cet or not Secs.reserved_is_zero(raw):
        raise refuse(errno.EINVAL, "reserved bytes of SECS")


def check_secinfo(raw: bytes) -> SecinfoFlags:
    """Return the flags of a page's SECINFO; a TCS may have permissions, to no end."""
    flags = Secinfo.from_bytes(raw).flags
    if int(flags) & ~(PROT_RWX | 0xFF00) or not Secinfo.reserved_is_zero(raw):
        raise refuse(errno.EINVAL, "reserved bits of SECINFO")
    if flags & SecinfoFlags.W and not flags & SecinfoFlags.R:
        raise refuse(errno.EINVAL, "W without R")
    if flags.page_type not in (PageType.REG, PageType.TCS):
        raise refuse(errno.EINVAL, f"page type {flags.page_type}")
    return flags


def check_tcs(raw: bytes, size: int) -> None:
    """Judge a TCS that is to be added to an enclave of *size* bytes."""
    tcs = Tcs.from_bytes(raw)
    if tcs.flags:
        also = " (EADD would clear it)" if tcs.flags == TcsFlags.DBGOPTIN else ""
        raise refuse(errno.EINVAL, f"TCS.FLAGS {int(tcs.flags):#x}{also}")
    for offset in (tcs.ossa, tcs.ofsbasgx, tcs.ogsbasgx):
        if offset % PAGE_SIZE or offset >= size:
            raise refuse(errno.EINVAL, f"offset {offset:#x} in TCS")
    for limit in (tcs.fslimit, tcs.gslimit):
        if limit & _LIMIT_LOW != _LIMIT_LOW:
            raise refuse(errno.EINVAL, f"limit {limit:#x} in TCS")
    if not Tcs.reserved_is_zero(raw):
        raise refuse(errno.EINVAL, "reserved bytes of TCS")


def check_mapping(model: Model, length: int, *, is_private: bool) -> None:
    """Judge a mapping of *length* bytes: it is to be an enclave's range."""
    if length < SIZE_MIN or length.bit_count() != 1 or is_private:
        raise refuse(errno.EINVAL, f"a mapping of {length:#x} bytes")
    if length > 1 << model.max_size_64:
        raise refuse(errno.EINVAL, f"{length:#x} bytes are over the processor's limit")


def _frame_bytes(model: Model, secs: Secs) -> int:
    misc = Exinfo.SIZE if secs.miscselect & Miscselect.EXINFO else 0
    return model.xsave.size(secs.attributes.xfrm) + Gprsgx.SIZE + misc
