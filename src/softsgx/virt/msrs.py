"""The virtual registers of a guest: IA32_FEATURE_CONTROL, IA32_SGXLEPUBKEYHASH0..3."""

from softsgx.arch.faults import GeneralProtection
from softsgx.arch.msr import INTEL_LEPUBKEYHASH, FeatureControl, Msr


class VirtualMsrs:
    """The MSRs that KVM keeps for a guest; *has_sgx* and *has_lc* are its CPUID's bits.

    *fixed*: the platform's launch key, 32 bytes, where that cannot be changed.
    """

    def __init__(self, *, has_sgx: bool, has_lc: bool, fixed: bytes | None = None):
        self._has_lc = has_lc
        self._initial = INTEL_LEPUBKEYHASH if fixed is None else fixed
        self._valid = int(FeatureControl.LOCK)
        self._valid |= int(FeatureControl.SGX_ENABLE) * has_sgx
        self._valid |= int(FeatureControl.SGX_LC_ENABLE) * has_lc
        self.feature_control = FeatureControl(0)
        self.lepubkeyhash = self._initial

    def reset(self) -> None:
        """Make them what they are before a guest's firmware runs."""
        self.feature_control = FeatureControl(0)
        self.lepubkeyhash = self._initial

    def rdmsr(self, msr: int) -> int:
        """Return 64 bits; #GP for the hash in a guest without SGX_LC."""
        if msr == Msr.IA32_FEATURE_CONTROL:
            return int(self.feature_control)
        at = self._hash_offset(msr)
        return int.from_bytes(self.lepubkeyhash[at : at + 8], "little")

    def wrmsr(self, msr: int, value: int) -> None:
        """Write 64 bits; #GP for what is locked or the guest's CPUID does not have."""
        if msr == Msr.IA32_FEATURE_CONTROL:
            self._write_feature_control(value)
            return
        at = self._hash_offset(msr)
        control = self.feature_control
        if control & FeatureControl.LOCK and not control & FeatureControl.SGX_LC_ENABLE:
            raise GeneralProtection("IA32_SGXLEPUBKEYHASH is not writable")
        word = value.to_bytes(8, "little")
        self.lepubkeyhash = self.lepubkeyhash[:at] + word + self.lepubkeyhash[at + 8 :]

    def _write_feature_control(self, value: int) -> None:
        if self.feature_control & FeatureControl.LOCK:
            raise GeneralProtection("IA32_FEATURE_CONTROL is locked")
        if value & ~self._valid:
            raise GeneralProtection("IA32_FEATURE_CONTROL has no such bit here")
        self.feature_control = FeatureControl(value)

    def _hash_offset(self, msr: int) -> int:
        word = msr - Msr.IA32_SGXLEPUBKEYHASH0
        if not 0 <= word <= 3 or not self._has_lc:
            raise GeneralProtection(f"MSR {msr:#x}")
        return word * 8
