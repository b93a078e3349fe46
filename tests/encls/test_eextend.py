import pytest

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.faults import GeneralProtection, PageFault
from softsgx.arch.leaves import Encls
from softsgx.machine.memory import epc_address
from tests.support import Ring0, make_machine, make_secs, refuses, small_enclave

SECS = epc_address(0)


@pytest.fixture
def ring0() -> Ring0:
    return small_enclave(initialized=False)


def test_measures_offset_and_contents(ring0: Ring0) -> None:
    ring0.machine.epc.page(3)[256:512] = b"\x5a" * 256
    ring0.leaf(Encls.EEXTEND, SECS, epc_address(3) + 256)
    other = small_enclave(initialized=False)
    other.enclave().measurement.eextend(2 * PAGE_SIZE + 256, b"\x5a" * 256)
    expected = other.enclave().measurement
    assert ring0.enclave().measurement.digest() == expected.digest()
    assert ring0.enclave().measurement.blocks == expected.blocks == 10


def test_measures_a_tcs_as_it_lies_in_the_epc(ring0: Ring0) -> None:
    ring0.leaf(Encls.EEXTEND, SECS, epc_address(1))


def test_faults_when_rbx_is_not_page_aligned(ring0: Ring0) -> None:
    with refuses(ring0.machine, GeneralProtection, "RBX"):
        ring0.leaf(Encls.EEXTEND, SECS + 256, epc_address(3))


def test_faults_when_rbx_is_outside_the_epc(ring0: Ring0) -> None:
    with refuses(ring0.machine, PageFault, "not in the EPC"):
        ring0.leaf(Encls.EEXTEND, 0x3000, epc_address(3))


def test_faults_when_rcx_is_not_256_byte_aligned(ring0: Ring0) -> None:
    with refuses(ring0.machine, GeneralProtection, "RCX"):
        ring0.leaf(Encls.EEXTEND, SECS, epc_address(3) + 64)


def test_faults_when_rcx_is_outside_the_epc(ring0: Ring0) -> None:
    with refuses(ring0.machine, PageFault, "not in the EPC"):
        ring0.leaf(Encls.EEXTEND, SECS, 0x3000)


def test_faults_when_the_page_is_not_valid(ring0: Ring0) -> None:
    with refuses(ring0.machine, PageFault, "not valid"):
        ring0.leaf(Encls.EEXTEND, SECS, epc_address(9))


def test_faults_on_a_secs_page(ring0: Ring0) -> None:
    with refuses(ring0.machine, PageFault, "neither"):
        ring0.leaf(Encls.EEXTEND, SECS, SECS)


def test_faults_when_rbx_is_not_the_pages_secs(ring0: Ring0) -> None:
    ring0.ecreate(20, make_secs())
    with refuses(ring0.machine, GeneralProtection, "not the SECS"):
        ring0.leaf(Encls.EEXTEND, epc_address(20), epc_address(3))


def test_faults_when_the_enclave_is_initialized() -> None:
    ring0 = small_enclave(make_machine())
    with refuses(ring0.machine, GeneralProtection, "is initialized"):
        ring0.leaf(Encls.EEXTEND, SECS, epc_address(3))
