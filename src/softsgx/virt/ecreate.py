"""ECREATE that left the guest: what KVM holds a SECS to, before the leaf runs."""

from collections.abc import Callable

from softsgx.arch.cpuid import LEAF_SGX, CpuidRegs
from softsgx.arch.faults import GeneralProtection
from softsgx.arch.pageinfo import Pageinfo
from softsgx.arch.secinfo import Secinfo
from softsgx.arch.secs import XFRM_LEGACY, AttributeFlags, Secs
from softsgx.encls.operand import check_aligned
from softsgx.machine.model import Model
from softsgx.machine.processor import Processor
from softsgx.virt.kvm import Kvm
from softsgx.virt.operands import RunLeaf, run_with

_U32 = 0xFFFF_FFFF


def handle_ecreate(lp: Processor, check: Callable[[Secs], None], run: RunLeaf) -> None:
    """Copy PAGEINFO and the SECS once, judge them, and let the leaf have the copies."""
    rbx, memory = lp.regs.rbx, lp.memory
    check_aligned(rbx, Pageinfo.ALIGN, "RBX")
    check_aligned(lp.regs.rcx, Secs.ALIGN, "RCX")
    raw = memory.load(rbx, Pageinfo.SIZE)
    pageinfo = Pageinfo.from_bytes(raw)
    check_aligned(pageinfo.secinfo, Secinfo.ALIGN, "SECINFO")
    check_aligned(pageinfo.srcpge, Secs.ALIGN, "SRCPGE")
    secs = memory.load(pageinfo.srcpge, Secs.SIZE)
    check(Secs.from_bytes(secs))
    run_with(lp, {rbx: raw, pageinfo.srcpge: secs}, run)


def check_secs(kvm: Kvm, guest: Model, secs: Secs, *, provisioning: bool) -> None:
    """Raise #GP for a SECS that the host, or the guest's own CPUID, does not allow."""
    attributes, xfrm = int(secs.attributes.flags), secs.attributes.xfrm
    if attributes & AttributeFlags.PROVISIONKEY and not provisioning:
        raise GeneralProtection("the host allows the guest no PROVISIONKEY")
    sub0, sub1 = (guest.cpuid(LEAF_SGX, subleaf) for subleaf in (0, 1))
    if int(secs.miscselect) & ~sub0.ebx:
        raise GeneralProtection("MISCSELECT is beyond the guest's CPUID")
    if _exceeds(attributes, sub1.eax, sub1.ebx):
        raise GeneralProtection("ATTRIBUTES is beyond the guest's CPUID")
    if _exceeds(xfrm, sub1.ecx, sub1.edx):
        raise GeneralProtection("XFRM is beyond the guest's CPUID")
    if kvm is not Kvm.LINUX_6_1:
        _check_xcr0(guest, xfrm)
    if secs.size >= 1 << _size_limit(sub0, attributes):
        raise GeneralProtection("SIZE is beyond the guest's CPUID")


def _check_xcr0(guest: Model, xfrm: int) -> None:
    """6.12 does not trust the VMM's CPUID: a guest without AVX has none in enclaves."""
    if xfrm & ~(guest.xfrm | XFRM_LEGACY) or xfrm & XFRM_LEGACY != XFRM_LEGACY:
        raise GeneralProtection("XFRM is beyond the guest's XCR0")


def _exceeds(value: int, low: int, high: int) -> bool:
    return bool(value & _U32 & ~low or value >> 32 & ~high)


def _size_limit(sub0: CpuidRegs, attributes: int) -> int:
    mode64 = attributes & AttributeFlags.MODE64BIT
    return (sub0.edx >> 8 if mode64 else sub0.edx) & 0xFF
