from dataclasses import replace

import pytest

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.errors import SgxError
from softsgx.arch.faults import GeneralProtection, PageFault
from softsgx.arch.leaves import Encls
from softsgx.arch.secinfo import PageType, SecinfoFlags
from softsgx.machine.memory import epc_address
from tests.support import Ring0, refuses, small_enclave

R, W, X = SecinfoFlags.R, SecinfoFlags.W, SecinfoFlags.X


@pytest.fixture
def ring0() -> Ring0:
    return small_enclave()


@pytest.mark.parametrize("before", [0, R, R | W, R | X, R | W | X])
@pytest.mark.parametrize("mask", [0, R, X, R | W, R | X, R | W | X])
def test_keeps_only_what_both_have_and_sets_pr(
    ring0: Ring0, before: int, mask: int
) -> None:
    machine = ring0.machine
    entry = replace(
        machine.epcm[3], r=bool(before & R), w=bool(before & W), x=bool(before & X)
    )
    machine.epcm[3] = entry
    ring0.emodpr(3, mask)
    both = before & mask
    assert machine.epcm[3] == replace(
        entry, r=bool(both & R), w=bool(both & W), x=bool(both & X), pr=True
    )


def test_notes_the_epoch_that_must_pass(ring0: Ring0) -> None:
    ring0.on_page(Encls.ETRACK, 0)
    ring0.emodpr(3, R)
    assert ring0.machine.epcm[3].epoch == 1


def test_clears_rax_and_flags(ring0: Ring0) -> None:
    ring0.lp.regs.rflags = 0x8D7
    ring0.emodpr(3, R)
    assert (ring0.lp.regs.rax, ring0.lp.regs.rflags) == (0, 0x2)


def test_faults_when_rbx_is_not_64_byte_aligned(ring0: Ring0) -> None:
    with refuses(ring0.machine, GeneralProtection, "RBX"):
        ring0.call(Encls.EMODPR, ring0.secinfo(R) + 32, epc_address(3))


def test_faults_when_rcx_is_not_page_aligned(ring0: Ring0) -> None:
    with refuses(ring0.machine, GeneralProtection, "RCX"):
        ring0.call(Encls.EMODPR, ring0.secinfo(R), epc_address(3) + 64)


def test_faults_when_rcx_is_outside_the_epc(ring0: Ring0) -> None:
    with refuses(ring0.machine, PageFault, "not in the EPC"):
        ring0.call(Encls.EMODPR, ring0.secinfo(R), 0x3000)


@pytest.mark.parametrize("bit", [6, 7, 16, 63])
def test_faults_on_reserved_secinfo_flags(ring0: Ring0, bit: int) -> None:
    with refuses(ring0.machine, GeneralProtection, "reserved bits"):
        ring0.emodpr(3, R | 1 << bit)


def test_faults_on_reserved_secinfo_bytes(ring0: Ring0) -> None:
    rbx = ring0.secinfo(R, bytes(55) + b"\1")
    with refuses(ring0.machine, GeneralProtection, "reserved bits"):
        ring0.call(Encls.EMODPR, rbx, epc_address(3))


def test_faults_on_permissions_writable_but_not_readable(ring0: Ring0) -> None:
    with refuses(ring0.machine, GeneralProtection, "writable but not readable"):
        ring0.emodpr(3, W)


def test_faults_when_the_page_is_not_valid(ring0: Ring0) -> None:
    with refuses(ring0.machine, PageFault, "not valid"):
        ring0.emodpr(9, R)


def test_error_when_the_page_is_pending(ring0: Ring0) -> None:
    ring0.eaug(9, 5 * PAGE_SIZE)
    with refuses(ring0.machine, SgxError.PAGE_NOT_MODIFIABLE, "PENDING"):
        ring0.emodpr(9, R)


def test_error_when_the_page_is_modified(ring0: Ring0) -> None:
    ring0.emodt(3, PageType.TRIM)
    with refuses(ring0.machine, SgxError.PAGE_NOT_MODIFIABLE, "MODIFIED"):
        ring0.emodpr(3, R)


@pytest.mark.parametrize("page", [0, 1], ids=["SECS", "TCS"])
def test_faults_when_the_page_is_not_regular(ring0: Ring0, page: int) -> None:
    with refuses(ring0.machine, PageFault, "not a REG page"):
        ring0.emodpr(page, R)


def test_faults_on_an_accepted_trim(ring0: Ring0) -> None:
    ring0.emodt(3, PageType.TRIM)
    machine = ring0.machine
    machine.epcm[3] = replace(machine.epcm[3], modified=False)
    with refuses(machine, PageFault, "not a REG page"):
        ring0.emodpr(3, R | W | X)


def test_faults_when_the_enclave_is_not_initialized() -> None:
    ring0 = small_enclave(initialized=False)
    with refuses(ring0.machine, GeneralProtection, "not initialized"):
        ring0.emodpr(3, R)
