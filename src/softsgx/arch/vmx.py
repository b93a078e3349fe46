"""What VMX adds to SGX's instructions: the ways in which they leave a guest."""

from enum import IntEnum


class ExitReason(IntEnum):
    """Basic exit reasons of SGX.  SDM: "VMX Basic Exit Reasons"."""

    ENCLV = 70
    SGX_CONFLICT = 71


class Conflict(IntEnum):
    """Code in the exit qualification of SGX_CONFLICT, of what can happen here."""

    TRACKING_REFERENCE_CONFLICT = 1


class VmExit(Exception):  # noqa: N818 -- the manual's word
    """A VM exit: the instruction had no effect, and its monitor goes on.

    *code* is the exit qualification's, *guest_physical* a guest-physical address.
    """

    def __init__(self, reason: ExitReason, code: int = 0, guest_physical: int = 0):
        super().__init__(f"{reason.name}, code {code}, at {guest_physical:#x}")
        self.reason = reason
        self.code = code
        self.guest_physical = guest_physical
