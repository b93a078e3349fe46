"""Faults of leaves that KVM ran for a guest.  vmx/sgx.c: sgx_inject_fault."""

from dataclasses import replace

import pytest

from softsgx.arch.faults import Fault, GeneralProtection, PageFault
from softsgx.machine.model import Model
from softsgx.virt.faults import EmulationFailed, reflected

SGX2 = Model()
SGX1 = replace(SGX2, sgx2=False)
SECS = 0x7000
GP, PF = GeneralProtection("why"), PageFault(0x1234, 0, "why")


@pytest.mark.parametrize(
    ("fault", "guest", "host", "expected"),
    [
        (PF, SGX2, SGX2, (14, 0x8003, SECS)),
        (PF, SGX1, SGX2, (13, 0, 0)),
        (GP, SGX2, SGX2, (13, 0, 0)),
        (GP, SGX1, SGX2, (13, 0, 0)),
        (GP, SGX1, SGX1, (13, 0, 0)),
        (GP, SGX2, SGX1, (14, 0x8003, SECS)),
    ],
)
def test_it_is_taken_for_the_epcms(
    fault: Fault, guest: Model, host: Model, expected: tuple[int, int, int]
) -> None:
    seen = reflected(fault, SECS, guest, host)
    assert (seen.vector, seen.error_code, seen.address) == expected
    assert seen.reason == "why"


def test_a_page_fault_with_sgx1_is_the_monitors_trouble() -> None:
    with pytest.raises(EmulationFailed, match="a page fault where SGX1 has none"):
        reflected(PF, SECS, SGX1, SGX1)
