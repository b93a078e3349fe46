"""A guest's virtual MSRs; each row says where KVM does."""

from collections.abc import Callable

import pytest

from softsgx.arch.faults import GeneralProtection
from softsgx.arch.msr import INTEL_LEPUBKEYHASH, FeatureControl, Msr
from softsgx.virt.msrs import VirtualMsrs

CONTROL, HASH = Msr.IA32_FEATURE_CONTROL, Msr.IA32_SGXLEPUBKEYHASH1
LOCK = int(FeatureControl.LOCK)
SGX, LC = int(FeatureControl.SGX_ENABLE), int(FeatureControl.SGX_LC_ENABLE)
GP = GeneralProtection

# CPUID's SGX and SGX_LC; IA32_FEATURE_CONTROL as it is; what is written; the outcome.
WRITES: list["Row"] = [
    (1, 1, 0, CONTROL, LOCK | SGX | LC, None, "vmx.c: vmx_set_msr"),
    (1, 1, 0, CONTROL, SGX, None, "vmx.c: vmx_set_msr: it need not be locked"),
    (1, 1, LOCK, CONTROL, LOCK, GP, "vmx.c: vmx_set_msr, FEAT_CTL_LOCKED"),
    (1, 0, 0, CONTROL, LC, GP, "vmx.c: vmx_vcpu_after_set_cpuid: valid bits"),
    (0, 1, 0, CONTROL, SGX, GP, "vmx.c: vmx_vcpu_after_set_cpuid: valid bits"),
    (0, 0, 0, CONTROL, LOCK, None, "vmx.c: vmx_vcpu_after_set_cpuid: valid bits"),
    (1, 1, 0, CONTROL, 4, GP, "vmx.c: vmx_feature_control_msr_valid"),
    (1, 1, 0, HASH, 7, None, "vmx.c: vmx_set_msr: as before activation"),
    (1, 1, SGX, HASH, 7, None, "vmx.c: vmx_set_msr: LC counts only once locked"),
    (1, 1, LOCK | SGX | LC, HASH, 7, None, "vmx.c: vmx_set_msr"),
    (1, 1, LOCK | LC, HASH, 7, None, "vmx.c: vmx_set_msr: SGX itself is not asked"),
    (1, 1, LOCK | SGX, HASH, 7, GP, "vmx.c: vmx_set_msr, SGX_LC_ENABLED"),
    (1, 0, 0, HASH, 7, GP, "vmx.c: vmx_set_msr, X86_FEATURE_SGX_LC"),
    (1, 1, 0, 0x8B, 7, GP, "no MSR of SGX's"),
    (1, 1, 0, 0x90, 7, GP, "no MSR of SGX's"),
]


Row = tuple[int, int, int, int, int, type[Exception] | None, str]


@pytest.mark.parametrize("row", WRITES, ids=str)
def test_a_write(row: Row) -> None:
    sgx, lc, before, msr, value, fault, why = row
    msrs = VirtualMsrs(has_sgx=bool(sgx), has_lc=bool(lc))
    msrs.feature_control = FeatureControl(before)
    old = (msrs.feature_control, msrs.lepubkeyhash)
    if fault is None:
        msrs.wrmsr(msr, value)
        assert msrs.rdmsr(msr) == value, why
    else:
        with pytest.raises(fault):
            msrs.wrmsr(msr, value)
        assert (msrs.feature_control, msrs.lepubkeyhash) == old, why


@pytest.mark.parametrize("word", range(4))
def test_a_hash_is_four_words(word: int) -> None:
    msrs = VirtualMsrs(has_sgx=True, has_lc=True)
    msrs.wrmsr(Msr.IA32_SGXLEPUBKEYHASH0 + word, 0x0102030405060708)
    expected = bytearray(INTEL_LEPUBKEYHASH)
    expected[word * 8 : word * 8 + 8] = bytes(range(8, 0, -1))
    assert msrs.lepubkeyhash == expected


@pytest.mark.parametrize("fixed", [None, bytes(range(32))])
def test_reset_is_the_processors_own_hash_or_intels(fixed: bytes | None) -> None:
    # vmx/sgx.c: setup_default_sgx_lepubkeyhash, vcpu_setup_sgx_lepubkeyhash
    msrs = VirtualMsrs(has_sgx=True, has_lc=True, fixed=fixed)
    msrs.wrmsr(HASH, 1)
    msrs.wrmsr(CONTROL, LOCK | SGX)
    msrs.reset()
    assert msrs.lepubkeyhash == (fixed or INTEL_LEPUBKEYHASH)
    assert msrs.rdmsr(CONTROL) == 0


def reading(msr: int, *, lc: bool) -> Callable[[], int]:
    return lambda: VirtualMsrs(has_sgx=True, has_lc=lc).rdmsr(msr)


def test_who_reads_the_hash_has_launch_control() -> None:
    # vmx.c, vmx_get_msr
    assert reading(HASH, lc=True)() == int.from_bytes(
        INTEL_LEPUBKEYHASH[8:16], "little"
    )
    with pytest.raises(GeneralProtection, match="MSR 0x8d"):
        reading(HASH, lc=False)()
    assert reading(CONTROL, lc=False)() == 0
