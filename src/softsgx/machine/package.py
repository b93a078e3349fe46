"""What a processor package holds: fuses, security version, MSRs, entropy."""

from dataclasses import dataclass

from softsgx.arch.faults import GeneralProtection
from softsgx.arch.msr import INTEL_LEPUBKEYHASH, FeatureControl, Msr
from softsgx.crypto.entropy import Entropy
from softsgx.crypto.sha256 import sha256
from softsgx.machine.paging import Paging

FUSES_LABEL = b"softsgx software platform fuses\0"
"""Goes into every fuse made from a seed: no key of ours is a key of hardware."""

GUEST_LABEL = b"guest\0"
"""Goes into the fuses of guests: none is a platform's, whatever its identity."""

OPTED_IN = FeatureControl.LOCK | FeatureControl.SGX_ENABLE
OPTED_IN_FLEXIBLE = OPTED_IN | FeatureControl.SGX_LC_ENABLE
"""IA32_FEATURE_CONTROL with SGX on; with the launch key's hash writable, too."""
_OPTED_IN = int(OPTED_IN)


@dataclass(frozen=True)
class Fuses:
    """Secrets of one package: the root of all keys, and the seal fuses, 16 bytes each.

    They are a software platform's and known to whoever reads its files.
    """

    provisioning_root: bytes
    seal_fuses: bytes

    @classmethod
    def from_seed(cls, seed: bytes) -> "Fuses":
        """Derive both fuses from a seed; the same seed always gives the same."""
        root = sha256(FUSES_LABEL + b"provisioning root\0" + seed)
        seal = sha256(FUSES_LABEL + b"seal\0" + seed)
        return cls(root[:16], seal[:16])

    @classmethod
    def of_guest(cls, identity: bytes) -> "Fuses":
        """Derive what a guest with keys of its own has in the place of the package's.

        Nothing of the package is in them: the guest has its keys wherever it runs.
        """
        return cls.from_seed(GUEST_LABEL + identity)


@dataclass
class Package:
    """One package.  *cpusvn* and *ownerepoch* are 16 bytes, the others 32."""

    fuses: Fuses
    entropy: Entropy
    report_keyid: bytes
    paging: Paging
    cpusvn: bytes = bytes([1, 1] + [0] * 14)
    ownerepoch: bytes = bytes(16)
    feature_control: FeatureControl = OPTED_IN_FLEXIBLE
    lepubkeyhash: bytes = INTEL_LEPUBKEYHASH

    @classmethod
    def from_seed(cls, seed: bytes, entropy: Entropy) -> "Package":
        """Return a package out of reset: report key id and paging key are new."""
        fuses = Fuses.from_seed(seed)
        return cls(fuses, entropy, entropy.random(32), Paging(entropy.random(16)))

    def is_opted_in(self) -> bool:
        """Say whether IA32_FEATURE_CONTROL is locked with SGX enabled."""
        # As integers: every leaf asks, and the & of an IntFlag takes a microsecond.
        return ~int(self.feature_control) & _OPTED_IN == 0

    def rdmsr(self, msr: int) -> int:
        """Return an MSR's 64 bits; #GP for one that is not SGX's or not readable."""
        if msr == Msr.IA32_FEATURE_CONTROL:
            return int(self.feature_control)
        at = _lepubkeyhash_offset(msr)
        return int.from_bytes(self.lepubkeyhash[at : at + 8], "little")

    def wrmsr(self, msr: int, value: int) -> None:
        """Write an MSR's 64 bits; #GP when it is locked or not SGX's.

        SDM: "Intel SGX Launch Control Configuration".
        """
        if msr == Msr.IA32_FEATURE_CONTROL:
            if self.feature_control & FeatureControl.LOCK:
                raise GeneralProtection("IA32_FEATURE_CONTROL is locked")
            self.feature_control = FeatureControl(value)
            return
        at = _lepubkeyhash_offset(msr)
        if self.feature_control & OPTED_IN_FLEXIBLE != OPTED_IN_FLEXIBLE:
            raise GeneralProtection("IA32_SGXLEPUBKEYHASH is not writable")
        word = value.to_bytes(8, "little")
        self.lepubkeyhash = self.lepubkeyhash[:at] + word + self.lepubkeyhash[at + 8 :]


def is_cpusvn_beyond(cpusvn: bytes, current: bytes) -> bool:
    """Say whether any of the 16 component versions is above the current one's."""
    return any(one > other for one, other in zip(cpusvn, current, strict=True))


def _lepubkeyhash_offset(msr: int) -> int:
    word = msr - Msr.IA32_SGXLEPUBKEYHASH0
    if not 0 <= word <= 3:
        raise GeneralProtection(f"MSR {msr:#x}")
    return word * 8
