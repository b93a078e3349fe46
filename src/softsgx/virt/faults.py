"""A fault of a leaf that KVM ran for a guest, as the guest is to see it."""

from softsgx.arch.faults import (
    PFEC_P,
    PFEC_SGX,
    PFEC_W,
    Fault,
    GeneralProtection,
    PageFault,
)
from softsgx.machine.model import Model


class EmulationFailed(Exception):  # noqa: N818 -- KVM's word for how it ends
    """KVM cannot say whose fault it is: KVM_EXIT_INTERNAL_ERROR, the guest stops."""


def reflected(fault: Fault, secs: int, guest: Model, host: Model) -> Fault:
    """Return what is injected for a fault on the SECS at linear address *secs*.

    KVM takes what may be the EPCM's for the EPCM's: #GP with SGX1, #PF with SGX2.
    """
    is_page_fault = isinstance(fault, PageFault)
    if is_page_fault and not host.sgx2:
        raise EmulationFailed(f"a page fault where SGX1 has none: {fault}")
    if (is_page_fault or not host.sgx2) and guest.sgx2:
        return PageFault(secs, PFEC_P | PFEC_W | PFEC_SGX, fault.reason)
    return GeneralProtection(fault.reason)
