"""CPUID of a guest: leaf 12H as KVM filters it, and what a VMM makes of that."""

from dataclasses import replace

from softsgx.arch.cpuid import LEAF_SGX, CpuidRegs, SgxFeatures
from softsgx.arch.secs import AttributeFlags, Miscselect
from softsgx.machine.model import Model
from softsgx.virt.kvm import Kvm

_FEATURES = {
    Kvm.LINUX_6_1: SgxFeatures.SGX1 | SgxFeatures.SGX2,
    Kvm.LINUX_6_12: SgxFeatures.SGX1 | SgxFeatures.SGX2 | SgxFeatures.EDECCSSA,
}
_OLD_ATTRIBUTES = (
    AttributeFlags.DEBUG
    | AttributeFlags.MODE64BIT
    | AttributeFlags.PROVISIONKEY
    | AttributeFlags.EINITTOKENKEY
    | AttributeFlags.KSS
)
_ATTRIBUTES = {
    Kvm.LINUX_6_1: _OLD_ATTRIBUTES,
    Kvm.LINUX_6_12: _OLD_ATTRIBUTES | AttributeFlags.AEXNOTIFY,
}


def supported(kvm: Kvm, host: CpuidRegs, subleaf: int) -> CpuidRegs:
    """Return what KVM offers a VMM of leaf 12H, given the processor's own registers.

    Sizes and XFRM pass as they are; sections of the EPC are the VMM's to report.
    """
    if subleaf == 0:
        features = host.eax & int(_FEATURES[kvm])
        return CpuidRegs(features, host.ebx & int(Miscselect.EXINFO), 0, host.edx)
    if subleaf == 1:
        return CpuidRegs(host.eax & int(_ATTRIBUTES[kvm]), 0, host.ecx, host.edx)
    return CpuidRegs()


def guest_model(
    kvm: Kvm, host: Model, epc_bytes: int, *, provisioning: bool, has_lc: bool
) -> Model:
    """Return the processor that a guest has, as QEMU's `-cpu host` makes it.

    Its EPC has *epc_bytes*; without *provisioning* PROVISIONKEY is not enumerated;
    *has_lc*: CPUID.7:ECX.SGX_LC is.
    """
    features, misc, *_ = supported(kvm, host.cpuid(LEAF_SGX, 0), 0)
    flags, *_ = supported(kvm, host.cpuid(LEAF_SGX, 1), 1)
    return replace(
        host,
        sgx1=bool(features & SgxFeatures.SGX1),
        sgx2=bool(features & SgxFeatures.SGX2),
        edeccssa=bool(features & SgxFeatures.EDECCSSA),
        exinfo=bool(misc & Miscselect.EXINFO),
        kss=bool(flags & AttributeFlags.KSS),
        aexnotify=bool(flags & AttributeFlags.AEXNOTIFY),
        provisionkey=provisioning and bool(flags & AttributeFlags.PROVISIONKEY),
        flc=has_lc,
        enclv=bool(features & SgxFeatures.ENCLV),
        oversub=bool(features & SgxFeatures.OVERSUB),
        vmx=False,
        epc_bytes=epc_bytes,
    )
