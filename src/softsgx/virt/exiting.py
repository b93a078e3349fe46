"""Which leaves of ENCLS leave the guest, and what becomes of those KVM does not run."""

from dataclasses import dataclass

from softsgx.arch.cpuid import LEAF_SGX
from softsgx.arch.faults import Fault, GeneralProtection, InvalidOpcode
from softsgx.arch.leaves import Encls
from softsgx.arch.msr import FeatureControl
from softsgx.machine.model import Model
from softsgx.machine.package import OPTED_IN
from softsgx.virt.kvm import Kvm

ALL = (1 << 64) - 1
"""The ENCLS-exiting bitmap of a guest without SGX."""

_LAST_BIT = 63
"""It stands for all higher leaves too."""


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What a guest has: its CPUID, its IA32_FEATURE_CONTROL, the host's leave."""

    guest: Model
    feature_control: FeatureControl
    provisioning: bool = False
    paging: bool = True

    @property
    def is_opted_in(self) -> bool:
        """Say whether the guest's firmware turned SGX on and locked that."""
        return self.feature_control & OPTED_IN == OPTED_IN


def exiting_bitmap(situation: Situation, host: Model, *, traps_einit: bool) -> int:
    """Return the ENCLS-exiting bitmap, 64 bits; KVM traps EINIT if it has SGX_LC."""
    guest = situation.guest
    bitmap = ALL
    if not guest.sgx1 or not situation.is_opted_in:
        return bitmap
    bitmap &= ~_bits(Encls.ECREATE, Encls.ETRACK)
    if _intercepts_ecreate(situation, host):
        bitmap |= 1 << Encls.ECREATE
    if guest.sgx2:
        bitmap &= ~_bits(Encls.EAUG, Encls.EMODT)
    if traps_einit:
        bitmap |= 1 << Encls.EINIT
    return bitmap


def is_exiting(bitmap: int, leaf: int) -> bool:
    """Say whether a leaf, EAX, leaves the guest."""
    return bool(bitmap >> min(leaf, _LAST_BIT) & 1)


def fault_of(kvm: Kvm, leaf: int, situation: Situation) -> Fault | None:
    """Return the fault of a leaf that left the guest; None: KVM carries it out."""
    guest = situation.guest
    sgx2 = Encls.EAUG <= leaf <= Encls.EMODT
    is_there = leaf <= Encls.ETRACK or (sgx2 and guest.sgx2)
    if not guest.sgx1:
        return InvalidOpcode("the guest has no SGX")
    if not is_there:
        kind = InvalidOpcode if kvm is Kvm.LINUX_6_1 else GeneralProtection
        return kind(f"ENCLS has no leaf {leaf:#x} in the guest")
    if not situation.is_opted_in:
        return GeneralProtection("the guest's IA32_FEATURE_CONTROL has SGX off")
    if kvm is not Kvm.LINUX_6_1 and not situation.paging:
        return GeneralProtection("the guest has paging off")
    return None


def _bits(first: int, last: int) -> int:
    return (1 << last + 1) - (1 << first)


def _intercepts_ecreate(situation: Situation, host: Model) -> bool:
    """KVM need not look where the guest may have all that the processor has."""
    if not situation.provisioning:
        return True
    return any(_masks(situation.guest, sub) != _masks(host, sub) for sub in (0, 1))


def _masks(model: Model, subleaf: int) -> tuple[int, ...]:
    """Return what ECREATE is held to; of sub-leaf 0 that is MISCSELECT and sizes."""
    regs = model.cpuid(LEAF_SGX, subleaf)
    return (regs.ebx, regs.edx) if subleaf == 0 else tuple(regs)
