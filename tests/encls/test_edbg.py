"""EDBGRD and EDBGWR, which differ in little."""

import pytest

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.errors import SgxError
from softsgx.arch.faults import GeneralProtection, PageFault
from softsgx.arch.leaves import Encls
from softsgx.arch.secinfo import PageType
from softsgx.arch.secs import AttributeFlags, Attributes
from softsgx.machine.epcm import EpcmEntry
from softsgx.machine.memory import epc_address
from tests.support import REG_RW, Ring0, make_machine, make_secs, refuses, small_enclave

BOTH = pytest.mark.parametrize("leaf", [Encls.EDBGRD, Encls.EDBGWR])
VALUE = 0x1122_3344_5566_7788


@pytest.fixture
def ring0() -> Ring0:
    return small_enclave()


def call(ring0: Ring0, leaf: Encls, page: int, offset: int = 0) -> None:
    ring0.call(leaf, rbx=VALUE, rcx=epc_address(page) + offset)


def test_writes_and_reads_a_quadword(ring0: Ring0) -> None:
    ring0.on_page(Encls.EDBGWR, 3, 16, VALUE)
    assert bytes(ring0.machine.epc.page(3)[16:24]) == VALUE.to_bytes(8, "little")
    assert ring0.on_page(Encls.EDBGRD, 3, 16) == VALUE


def test_reaches_the_whole_of_a_regular_page(ring0: Ring0) -> None:
    ring0.on_page(Encls.EDBGWR, 3, PAGE_SIZE - 8, VALUE)
    assert ring0.on_page(Encls.EDBGRD, 3, PAGE_SIZE - 8) == VALUE


def test_ignores_the_permissions_of_the_page(ring0: Ring0) -> None:
    ring0.emodpr(3, 0)
    ring0.on_page(Encls.EDBGWR, 3, 0, VALUE)
    assert ring0.on_page(Encls.EDBGRD, 3) == VALUE


def test_works_before_einit() -> None:
    ring0 = small_enclave(initialized=False)
    ring0.on_page(Encls.EDBGWR, 3, 0, VALUE)


@BOTH
def test_clears_rax_and_flags(ring0: Ring0, leaf: Encls) -> None:
    ring0.lp.regs.rflags = 0x8D7
    ring0.leaf(leaf, rcx=epc_address(3))
    assert (ring0.lp.regs.rax, ring0.lp.regs.rflags) == (0, 0x2)


@BOTH
def test_faults_when_rcx_is_not_8_byte_aligned(ring0: Ring0, leaf: Encls) -> None:
    with refuses(ring0.machine, GeneralProtection, "RCX"):
        call(ring0, leaf, 3, 4)


@BOTH
def test_faults_when_rcx_is_outside_the_epc(ring0: Ring0, leaf: Encls) -> None:
    with refuses(ring0.machine, PageFault, "not in the EPC"):
        ring0.call(leaf, rcx=0x3000)


@BOTH
def test_faults_when_the_page_is_not_valid(ring0: Ring0, leaf: Encls) -> None:
    with refuses(ring0.machine, PageFault, "not valid"):
        call(ring0, leaf, 9)


@BOTH
def test_faults_on_a_secs(ring0: Ring0, leaf: Encls) -> None:
    with refuses(ring0.machine, PageFault, "neither"):
        call(ring0, leaf, 0)


@BOTH
def test_error_when_the_page_is_pending(ring0: Ring0, leaf: Encls) -> None:
    ring0.eaug(9, 5 * PAGE_SIZE)
    with refuses(ring0.machine, SgxError.PAGE_NOT_DEBUGGABLE, "PENDING"):
        call(ring0, leaf, 9)


@BOTH
def test_error_when_the_page_is_modified(ring0: Ring0, leaf: Encls) -> None:
    ring0.emodt(3, PageType.TCS)
    with refuses(ring0.machine, SgxError.PAGE_NOT_DEBUGGABLE, "MODIFIED"):
        call(ring0, leaf, 3)


@BOTH
def test_faults_when_the_enclave_is_not_for_debugging(leaf: Encls) -> None:
    ring0 = Ring0(make_machine())
    flags = AttributeFlags.MODE64BIT
    ring0.ecreate(0, make_secs(attributes=Attributes(flags=flags, xfrm=3)))
    ring0.eadd(3, 0, REG_RW)
    with refuses(ring0.machine, GeneralProtection, "not a debug enclave"):
        call(ring0, leaf, 3)


def test_reads_a_tcs_up_to_its_last_field(ring0: Ring0) -> None:
    assert ring0.on_page(Encls.EDBGRD, 1, 64) == 0xFFFFFFFF_FFFFFFFF
    ring0.on_page(Encls.EDBGRD, 1, 80)
    with refuses(ring0.machine, GeneralProtection, "past the fields"):
        call(ring0, Encls.EDBGRD, 1, 88)


def test_writes_only_the_flags_of_a_tcs(ring0: Ring0) -> None:
    ring0.on_page(Encls.EDBGWR, 1, 8, 1)
    assert ring0.machine.epc.page(1)[8] == 1
    for offset in (0, 16, 64, 88):
        with refuses(ring0.machine, GeneralProtection, "not FLAGS"):
            call(ring0, Encls.EDBGWR, 1, offset)


@pytest.mark.parametrize(
    ("slot", "shown"), [(0, 0), (7, 0), (8, (1 << 64) - 1), (1 << 63, (1 << 64) - 1)]
)
def test_shows_of_a_va_slot_only_whether_it_is_taken(
    ring0: Ring0, slot: int, shown: int
) -> None:
    machine = ring0.machine
    machine.epcm[9] = EpcmEntry(valid=True, pt=PageType.VA)
    machine.epc.page(9)[8:16] = slot.to_bytes(8, "little")
    assert ring0.on_page(Encls.EDBGRD, 9, 8) == shown


def test_does_not_write_a_va_page(ring0: Ring0) -> None:
    ring0.machine.epcm[9] = EpcmEntry(valid=True, pt=PageType.VA)
    with refuses(ring0.machine, PageFault, "neither"):
        call(ring0, Encls.EDBGWR, 9)
