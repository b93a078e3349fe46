"""Which leaves of ENCLS leave the guest, and the faults of those KVM does not run."""

from dataclasses import replace

import pytest

from softsgx.arch.leaves import Encls
from softsgx.arch.msr import FeatureControl
from softsgx.machine.model import Model
from softsgx.machine.package import OPTED_IN, OPTED_IN_FLEXIBLE
from softsgx.virt.exiting import ALL, Situation, exiting_bitmap, fault_of, is_exiting
from softsgx.virt.kvm import Kvm

OLD, NEW = Kvm.LINUX_6_1, Kvm.LINUX_6_12
FULL = Model()
SGX1, NONE = replace(FULL, sgx2=False), replace(FULL, sgx1=False)
ON, OFF = OPTED_IN_FLEXIBLE, FeatureControl(0)
BITMAP = "vmx/sgx.c: vmx_write_encls_bitmap"
INTERCEPT = "vmx/sgx.c: sgx_intercept_encls_ecreate"
ECREATE, EINIT = 1 << Encls.ECREATE, 1 << Encls.EINIT
ABOVE = ALL & ~0xFFFF
SGX2 = 0xE000

# The guest's CPUID, IA32_FEATURE_CONTROL, provisioning; the host's SGX_LC; the bitmap.
BITMAPS = [
    (NONE, ON, False, True, ALL, BITMAP),
    (FULL, OFF, False, True, ALL, BITMAP),
    (FULL, FeatureControl.SGX_ENABLE, False, True, ALL, "sgx_enabled_in_guest_bios"),
    (FULL, FeatureControl.LOCK, False, True, ALL, "sgx_enabled_in_guest_bios"),
    (FULL, ON, False, True, ABOVE | ECREATE | EINIT, BITMAP),
    (FULL, OPTED_IN, False, True, ABOVE | ECREATE | EINIT, "SGX_LC is the host's"),
    (FULL, ON, False, False, ABOVE | ECREATE, BITMAP),
    (SGX1, ON, False, True, ABOVE | SGX2 | ECREATE | EINIT, BITMAP),
    (FULL, ON, True, True, ABOVE | EINIT, INTERCEPT),
    (replace(FULL, exinfo=False), ON, True, True, ABOVE | ECREATE | EINIT, INTERCEPT),
    (replace(FULL, max_size_64=40), ON, True, True, ABOVE | ECREATE | EINIT, INTERCEPT),
    (replace(FULL, xfrm=3), ON, True, True, ABOVE | ECREATE | EINIT, INTERCEPT),
    (replace(FULL, edeccssa=False), ON, True, True, ABOVE | EINIT, "EAX is no mask"),
]


@pytest.mark.parametrize(
    ("guest", "control", "provisioning", "lc", "expected", "where"), BITMAPS
)
def test_the_bitmap(
    guest: Model,
    control: FeatureControl,
    provisioning: bool,  # noqa: FBT001 -- a column of the table
    lc: bool,  # noqa: FBT001 -- a column of the table
    expected: int,
    where: str,
) -> None:
    situation = Situation(
        guest=guest, feature_control=control, provisioning=provisioning
    )
    assert hex(exiting_bitmap(situation, FULL, traps_einit=lc)) == hex(expected), where


def test_the_last_bit_is_for_all_leaves_above() -> None:
    # The processor looks at bit 63 for each leaf from 63 on.
    assert is_exiting(1 << 63, 0xFFFF_FFFF)
    assert not is_exiting(1 << 62, 63)
    assert is_exiting(1 << 62, 62)


OLD_LEAVES = "6.1 vmx/sgx.c: encls_leaf_enabled_in_guest"
NEW_LEAVES = "6.12 vmx/sgx.c: handle_encls"
# The KVM, the leaf, the guest's CPUID, its IA32_FEATURE_CONTROL, its paging; the fault.
FAULTS: list["Row"] = [
    (OLD, Encls.ECREATE, NONE, ON, True, "#UD", OLD_LEAVES),
    (NEW, Encls.ECREATE, NONE, ON, True, "#UD", NEW_LEAVES),
    (OLD, Encls.EAUG, SGX1, ON, True, "#UD", OLD_LEAVES),
    (NEW, Encls.EAUG, SGX1, ON, True, "#GP", NEW_LEAVES),
    (OLD, Encls.ERDINFO, FULL, ON, True, "#UD", OLD_LEAVES),
    (NEW, Encls.ERDINFO, FULL, ON, True, "#GP", NEW_LEAVES),
    (OLD, 0xFFFF_FFFF, FULL, ON, True, "#UD", OLD_LEAVES),
    (NEW, 0xFFFF_FFFF, FULL, ON, True, "#GP", NEW_LEAVES),
    (OLD, Encls.EADD, FULL, OFF, True, "#GP", "6.1 vmx/sgx.c: handle_encls"),
    (NEW, Encls.EADD, FULL, OFF, True, "#GP", NEW_LEAVES),
    (OLD, Encls.EAUG, SGX1, OFF, True, "#UD", "6.1: the leaf is looked at first"),
    (OLD, Encls.EINIT, FULL, ON, False, None, "6.1 does not ask for paging"),
    (NEW, Encls.EINIT, FULL, ON, False, "#GP", NEW_LEAVES),
    (OLD, Encls.ECREATE, FULL, ON, True, None, "handle_encls_ecreate"),
    (NEW, Encls.EINIT, SGX1, OPTED_IN, True, None, "handle_encls_einit"),
]


Row = tuple[Kvm, int, Model, FeatureControl, bool, str | None, str]


@pytest.mark.parametrize("row", FAULTS, ids=str)
def test_the_fault_of_a_leaf_that_left(row: Row) -> None:
    kvm, leaf, guest, control, paging, expected, where = row
    situation = Situation(guest=guest, feature_control=control, paging=paging)
    fault = fault_of(kvm, leaf, situation)
    assert (fault.mnemonic if fault else None) == expected, where
