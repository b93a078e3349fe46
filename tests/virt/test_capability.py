"""KVM_CAP_SGX_ATTRIBUTE.  kvm/x86.c: kvm_vm_ioctl_enable_cap; sgx_set_attribute."""

import errno

import pytest

from softsgx.arch.secs import AttributeFlags
from softsgx.driver.device import Provision, attributes_of
from softsgx.virt.capability import KVM_CAP_SGX_ATTRIBUTE, enable_cap

PROVISION = int(AttributeFlags.PROVISIONKEY)


@pytest.mark.parametrize(
    ("cap", "attributes", "allowed"),
    [
        (KVM_CAP_SGX_ATTRIBUTE, PROVISION, True),
        (KVM_CAP_SGX_ATTRIBUTE, 0, False),
        (KVM_CAP_SGX_ATTRIBUTE, PROVISION | AttributeFlags.DEBUG, False),
        (KVM_CAP_SGX_ATTRIBUTE, int(AttributeFlags.EINITTOKENKEY), False),
        (195, PROVISION, False),
    ],
)
def test_it_allows_provisionkey_and_nothing_else(
    cap: int,
    attributes: int,
    allowed: bool,  # noqa: FBT001 -- a column of the table
) -> None:
    if allowed:
        assert enable_cap(cap, attributes)
        return
    with pytest.raises(OSError, match="KVM_ENABLE_CAP") as refusal:
        enable_cap(cap, attributes)
    assert refusal.value.errno == errno.EINVAL


@pytest.mark.parametrize("file", [None, object()])
def test_only_the_provision_device_stands_for_attributes(file: object) -> None:
    assert attributes_of(Provision()) == PROVISION
    with pytest.raises(OSError, match="not /dev/sgx_provision") as refusal:
        attributes_of(file)
    assert refusal.value.errno == errno.EINVAL
