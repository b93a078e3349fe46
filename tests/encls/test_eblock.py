from dataclasses import replace

import pytest

from softsgx.arch.errors import SgxError
from softsgx.arch.faults import GeneralProtection, PageFault
from softsgx.arch.leaves import Encls
from softsgx.arch.secinfo import PageType
from softsgx.machine.epcm import EpcmEntry
from softsgx.machine.memory import epc_address
from tests.support import Ring0, refuses, small_enclave


@pytest.fixture
def ring0() -> Ring0:
    return small_enclave()


def block(ring0: Ring0, page: int) -> None:
    ring0.call(Encls.EBLOCK, rcx=epc_address(page))


@pytest.mark.parametrize("page", [1, 3], ids=["TCS", "REG"])
def test_blocks_the_page_in_the_present_epoch(ring0: Ring0, page: int) -> None:
    ring0.on_page(Encls.ETRACK, 0)
    before = ring0.machine.epcm[page]
    block(ring0, page)
    assert ring0.machine.epcm[page] == replace(before, blocked=True, epoch=1)


def test_blocks_a_trimmed_page(ring0: Ring0) -> None:
    ring0.emodt(3, PageType.TRIM)
    block(ring0, 3)
    assert ring0.machine.epcm[3].blocked


def test_faults_when_rcx_is_not_page_aligned(ring0: Ring0) -> None:
    with refuses(ring0.machine, GeneralProtection, "RCX"):
        ring0.call(Encls.EBLOCK, rcx=epc_address(3) + 8)


def test_faults_when_rcx_is_outside_the_epc(ring0: Ring0) -> None:
    with refuses(ring0.machine, PageFault, "not in the EPC"):
        ring0.call(Encls.EBLOCK, rcx=0x3000)


def test_error_when_the_page_is_not_valid(ring0: Ring0) -> None:
    with refuses(ring0.machine, SgxError.PG_INVLD):
        block(ring0, 9)


def test_error_on_a_secs(ring0: Ring0) -> None:
    with refuses(ring0.machine, SgxError.PG_IS_SECS):
        block(ring0, 0)


def test_error_on_a_va_page(ring0: Ring0) -> None:
    ring0.machine.epcm[9] = EpcmEntry(valid=True, pt=PageType.VA)
    with refuses(ring0.machine, SgxError.NOTBLOCKABLE):
        block(ring0, 9)


def test_error_when_the_page_is_blocked(ring0: Ring0) -> None:
    block(ring0, 3)
    with refuses(ring0.machine, SgxError.BLSTATE):
        block(ring0, 3)


@pytest.mark.parametrize(
    ("page", "code", "flags"),
    [
        pytest.param(9, SgxError.PG_INVLD, 0x42, id="invalid: ZF"),
        pytest.param(0, SgxError.PG_IS_SECS, 0x03, id="SECS: CF"),
        pytest.param(10, SgxError.NOTBLOCKABLE, 0x03, id="VA: CF"),
        pytest.param(4, SgxError.BLSTATE, 0x03, id="blocked: CF"),
        pytest.param(3, SgxError.SUCCESS, 0x02, id="success"),
    ],
)
def test_which_flag_reports_which_code(
    ring0: Ring0, page: int, code: SgxError, flags: int
) -> None:
    block(ring0, 4)
    ring0.machine.epcm[10] = EpcmEntry(valid=True, pt=PageType.VA)
    ring0.lp.regs.rflags = 0x8D7
    ring0.leaf(Encls.EBLOCK, rcx=epc_address(page))
    assert (ring0.lp.regs.rax, ring0.lp.regs.rflags) == (code, flags)
