"""KVM_CAP_SGX_ATTRIBUTE: the one way by which a guest's enclaves get PROVISIONKEY."""

import errno

from softsgx.arch.secs import AttributeFlags

KVM_CAP_SGX_ATTRIBUTE = 196


def enable_cap(cap: int, attributes: int) -> bool:
    """Enable a capability of a virtual machine: True, it may have PROVISIONKEY.

    *attributes* are those that the given descriptor stands for; else EINVAL.
    """
    if cap != KVM_CAP_SGX_ATTRIBUTE or attributes != AttributeFlags.PROVISIONKEY:
        raise OSError(errno.EINVAL, f"KVM_ENABLE_CAP {cap} of {attributes:#x}")
    return True
