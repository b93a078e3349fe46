import pytest

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.faults import GeneralProtection, PageFault
from softsgx.arch.leaves import Encls
from softsgx.arch.secinfo import PageType, SecinfoFlags
from softsgx.machine.epcm import EpcmEntry
from softsgx.machine.memory import epc_address
from tests.support import BASE, SIZE, Ring0, refuses, small_enclave

OFFSET = 5 * PAGE_SIZE


@pytest.fixture
def ring0() -> Ring0:
    return small_enclave()


def operands(ring0: Ring0, **pageinfo: int) -> tuple[int, int]:
    good = {"linaddr": BASE + OFFSET, "secs": epc_address(0)}
    return ring0.pageinfo(**good | pageinfo), epc_address(9)


def test_adds_a_zeroed_pending_page(ring0: Ring0) -> None:
    ring0.machine.epc.page(9)[:] = b"\xff" * PAGE_SIZE
    ring0.eaug(9, OFFSET)
    assert bytes(ring0.machine.epc.page(9)) == bytes(PAGE_SIZE)
    assert ring0.machine.epcm[9] == EpcmEntry(
        valid=True,
        r=True,
        w=True,
        pt=PageType.REG,
        enclavesecs=0,
        enclaveaddress=BASE + OFFSET,
        pending=True,
    )
    assert ring0.enclave().children == 5


def test_does_not_touch_the_measurement(ring0: Ring0) -> None:
    before = ring0.enclave().measurement.digest()
    ring0.eaug(9, OFFSET)
    assert ring0.enclave().measurement.digest() == before


def test_faults_when_rbx_is_not_32_byte_aligned(ring0: Ring0) -> None:
    rbx, rcx = operands(ring0)
    with refuses(ring0.machine, GeneralProtection, "RBX"):
        ring0.call(Encls.EAUG, rbx + 16, rcx)


def test_faults_when_rcx_is_not_page_aligned(ring0: Ring0) -> None:
    rbx, rcx = operands(ring0)
    with refuses(ring0.machine, GeneralProtection, "RCX"):
        ring0.call(Encls.EAUG, rbx, rcx + 8)


def test_faults_when_rcx_is_outside_the_epc(ring0: Ring0) -> None:
    rbx, _ = operands(ring0)
    with refuses(ring0.machine, PageFault, "not in the EPC"):
        ring0.call(Encls.EAUG, rbx, 0x3000)


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("secinfo", 0x2020, "SECINFO .* aligned"),
        ("secs", epc_address(0) + 8, "SECS .* aligned"),
        ("linaddr", BASE + OFFSET + 8, "LINADDR .* aligned"),
        ("srcpge", 0x3000, "SRCPGE"),
    ],
)
def test_faults_on_a_bad_field_of_pageinfo(
    ring0: Ring0, field: str, value: int, why: str
) -> None:
    rbx, rcx = operands(ring0, **{field: value})
    with refuses(ring0.machine, GeneralProtection, why):
        ring0.call(Encls.EAUG, rbx, rcx)


def test_faults_when_the_secs_is_outside_the_epc(ring0: Ring0) -> None:
    rbx, rcx = operands(ring0, secs=0x3000)
    with refuses(ring0.machine, PageFault, "not in the EPC"):
        ring0.call(Encls.EAUG, rbx, rcx)


def test_faults_when_the_page_is_in_use(ring0: Ring0) -> None:
    with refuses(ring0.machine, PageFault, "in use"):
        ring0.eaug(3, OFFSET)


def test_faults_on_a_secinfo_which_would_need_cet(ring0: Ring0) -> None:
    flags = SecinfoFlags.of(PageType.SS_FIRST, SecinfoFlags.R | SecinfoFlags.W)
    rbx, rcx = operands(ring0, secinfo=ring0.secinfo(flags))
    with refuses(ring0.machine, GeneralProtection, "without CET"):
        ring0.call(Encls.EAUG, rbx, rcx)


@pytest.mark.parametrize("secs", [3, 10], ids=["a REG page", "a free page"])
def test_faults_when_the_secs_is_none(ring0: Ring0, secs: int) -> None:
    rbx, rcx = operands(ring0, secs=epc_address(secs))
    with refuses(ring0.machine, PageFault, "not a SECS"):
        ring0.call(Encls.EAUG, rbx, rcx)


def test_faults_when_the_enclave_is_not_initialized() -> None:
    ring0 = small_enclave(initialized=False)
    with refuses(ring0.machine, GeneralProtection, "not initialized"):
        ring0.eaug(9, OFFSET)


@pytest.mark.parametrize("offset", [-PAGE_SIZE, SIZE])
def test_faults_outside_elrange(ring0: Ring0, offset: int) -> None:
    with refuses(ring0.machine, GeneralProtection, "outside ELRANGE"):
        ring0.eaug(9, offset)
