import pytest

from softsgx.arch.faults import GeneralProtection
from softsgx.arch.msr import INTEL_LEPUBKEYHASH, FeatureControl, Msr
from softsgx.machine.package import (
    OPTED_IN,
    Fuses,
    Package,
    is_cpusvn_beyond,
)
from tests.support import CountedEntropy


@pytest.fixture
def package() -> Package:
    return Package.from_seed(b"seed", CountedEntropy())


def test_a_seed_always_gives_the_same_fuses() -> None:
    assert Fuses.from_seed(b"one") == Fuses.from_seed(b"one")
    one, two = Fuses.from_seed(b"one"), Fuses.from_seed(b"two")
    assert one.provisioning_root != two.provisioning_root
    assert one.seal_fuses != two.seal_fuses
    assert one.provisioning_root != one.seal_fuses
    assert len(one.provisioning_root) == len(one.seal_fuses) == 16


def test_the_seed_itself_is_no_fuse() -> None:
    seed = bytes(16)
    assert seed not in (
        Fuses.from_seed(seed).provisioning_root,
        Fuses.from_seed(seed).seal_fuses,
    )


def test_report_key_ids_differ_from_reset_to_reset() -> None:
    entropy = CountedEntropy()
    one, two = (Package.from_seed(b"seed", entropy) for _ in range(2))
    assert one.report_keyid != two.report_keyid


def test_the_launch_key_hash_is_intels_at_reset(package: Package) -> None:
    assert package.lepubkeyhash == INTEL_LEPUBKEYHASH
    assert package.rdmsr(Msr.IA32_SGXLEPUBKEYHASH0) == 0xA6053E051270B7AC
    assert package.rdmsr(Msr.IA32_SGXLEPUBKEYHASH3) == 0xD4F8C05909F9BB3B


@pytest.mark.parametrize("word", range(4))
def test_the_launch_key_hash_is_written_word_by_word(
    package: Package, word: int
) -> None:
    value = 0x0123_4567_89AB_CDEF
    package.wrmsr(Msr.IA32_SGXLEPUBKEYHASH0 + word, value)
    expected = bytearray(INTEL_LEPUBKEYHASH)
    expected[word * 8 : word * 8 + 8] = value.to_bytes(8, "little")
    assert package.lepubkeyhash == bytes(expected)
    assert package.rdmsr(Msr.IA32_SGXLEPUBKEYHASH0 + word) == value


@pytest.mark.parametrize(
    "control", [OPTED_IN, FeatureControl.SGX_LC_ENABLE, FeatureControl(0)]
)
def test_without_launch_control_the_hash_cannot_be_written(
    package: Package, control: FeatureControl
) -> None:
    package.feature_control = control
    with pytest.raises(GeneralProtection, match="not writable"):
        package.wrmsr(Msr.IA32_SGXLEPUBKEYHASH1, 1)
    assert package.lepubkeyhash == INTEL_LEPUBKEYHASH


def test_feature_control_can_be_written_until_it_is_locked(package: Package) -> None:
    package.feature_control = FeatureControl(0)
    package.wrmsr(Msr.IA32_FEATURE_CONTROL, FeatureControl.SGX_ENABLE)
    assert not package.is_opted_in()
    package.wrmsr(Msr.IA32_FEATURE_CONTROL, OPTED_IN)
    assert package.is_opted_in()
    assert package.rdmsr(Msr.IA32_FEATURE_CONTROL) == OPTED_IN
    with pytest.raises(GeneralProtection, match="locked"):
        package.wrmsr(Msr.IA32_FEATURE_CONTROL, 0)


@pytest.mark.parametrize("msr", [0x8B, 0x90, Msr.IA32_SGXOWNEREPOCH0])
def test_other_msrs_fault(package: Package, msr: int) -> None:
    with pytest.raises(GeneralProtection, match="MSR"):
        package.rdmsr(msr)
    with pytest.raises(GeneralProtection, match="MSR"):
        package.wrmsr(msr, 0)


@pytest.mark.parametrize(
    ("svn", "beyond"),
    [
        (bytes([1, 1]) + bytes(14), False),
        (bytes(16), False),
        (bytes([2, 0]) + bytes(14), True),
        (bytes([0, 2]) + bytes(14), True),
        (bytes(15) + b"\1", True),
    ],
)
def test_a_cpusvn_is_beyond_when_any_component_is(svn: bytes, *, beyond: bool) -> None:
    assert is_cpusvn_beyond(svn, bytes([1, 1]) + bytes(14)) == beyond
