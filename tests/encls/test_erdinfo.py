from dataclasses import replace

import pytest

from softsgx.arch.errors import SgxError
from softsgx.arch.faults import GeneralProtection, PageFault
from softsgx.arch.leaves import Encls
from softsgx.arch.rdinfo import Rdinfo, RdinfoStatus
from softsgx.arch.secinfo import PageType
from softsgx.machine.memory import epc_address
from softsgx.machine.model import EPC_PHYSICAL_BASE
from softsgx.machine.processor import Controls
from tests.support import Ring0, in_guest, refuses, small_enclave

OUT = 0x6000
CHILDPRESENT, VIRTCHILDPRESENT = (
    RdinfoStatus.CHILDPRESENT,
    RdinfoStatus.VIRTCHILDPRESENT,
)


@pytest.fixture
def ring0() -> Ring0:
    ring0 = small_enclave()
    ring0.memory.put(OUT, bytearray(Rdinfo.SIZE))
    ring0.setcontext(0, 0x7777)
    return ring0


@pytest.mark.parametrize(
    ("page", "flags"), [(1, 0x100), (2, 0x205), (3, 0x203)], ids=["TCS", "RX", "RW"]
)
def test_tells_type_permissions_and_the_context_of_the_secs(
    ring0: Ring0, page: int, flags: int
) -> None:
    assert ring0.rdinfo(page) == Rdinfo(
        status=RdinfoStatus(0), flags=flags, enclavecontext=0x7777
    )


@pytest.mark.parametrize(
    ("state", "bit"), [("pending", 3), ("modified", 4), ("pr", 5), ("blocked", 63)]
)
def test_tells_the_state_of_a_page(ring0: Ring0, state: str, bit: int) -> None:
    ring0.machine.epcm[3] = replace(ring0.machine.epcm[3], **{state: True})
    assert ring0.rdinfo(3).flags == 0x203 | 1 << bit


def test_tells_a_trimmed_page(ring0: Ring0) -> None:
    ring0.emodt(3, PageType.TRIM)
    told = ring0.rdinfo(3)
    assert (told.flags, told.enclavecontext) == (0x410, 0x7777)


def test_a_version_array_has_no_context(ring0: Ring0) -> None:
    ring0.epa(9)
    assert ring0.rdinfo(9) == Rdinfo(
        status=RdinfoStatus(0), flags=0x300, enclavecontext=0
    )


def test_the_context_is_first_the_address_of_the_secs() -> None:
    ring0 = small_enclave()
    assert ring0.rdinfo(3).enclavecontext == EPC_PHYSICAL_BASE
    ring0.ecreate(9)
    assert ring0.rdinfo(9).enclavecontext == EPC_PHYSICAL_BASE + 9 * 4096


SECS = pytest.mark.parametrize(
    ("children", "virtchildcnt", "root", "guest"),
    [
        (0, 0, 0, 0),
        (4, 0, CHILDPRESENT, CHILDPRESENT),
        (0, 1, VIRTCHILDPRESENT, CHILDPRESENT),
        (4, 1, CHILDPRESENT | VIRTCHILDPRESENT, CHILDPRESENT),
    ],
)


@SECS
def test_tells_which_pages_a_secs_has(
    ring0: Ring0, children: int, virtchildcnt: int, root: int, guest: int
) -> None:
    enclave = ring0.enclave()
    enclave.children, enclave.virtchildcnt = children, virtchildcnt
    assert ring0.rdinfo(0) == Rdinfo(
        status=RdinfoStatus(root), flags=0, enclavecontext=0x7777
    )
    ring0.lp.controls = Controls()
    assert ring0.rdinfo(0).status == root
    in_guest(ring0)
    assert ring0.rdinfo(0) == Rdinfo(
        status=RdinfoStatus(guest), flags=0, enclavecontext=0
    )


def test_clears_rax_and_flags(ring0: Ring0) -> None:
    ring0.lp.regs.rflags = 0x8D7
    ring0.leaf(Encls.ERDINFO, OUT, epc_address(3))
    assert (ring0.lp.regs.rax, ring0.lp.regs.rflags) == (0, 0x2)


def refused_with_carry(ring0: Ring0, rcx: int, code: SgxError) -> None:
    with refuses(ring0.machine, code):
        ring0.call(Encls.ERDINFO, OUT, rcx)
    ring0.lp.regs.rflags = 0x8D7
    ring0.leaf(Encls.ERDINFO, OUT, rcx)
    assert (ring0.lp.regs.rax, ring0.lp.regs.rflags) == (code, 0x3)
    assert ring0.memory.load(OUT, Rdinfo.SIZE) == bytes(Rdinfo.SIZE)


def test_error_on_a_free_page(ring0: Ring0) -> None:
    refused_with_carry(ring0, epc_address(9), SgxError.PG_INVLD)


def test_error_on_memory_that_is_no_epc(ring0: Ring0) -> None:
    ring0.memory.put(0x9000, bytes(4096))
    refused_with_carry(ring0, 0x9000, SgxError.PG_NONEPC)


def test_faults_where_there_is_no_memory(ring0: Ring0) -> None:
    with refuses(ring0.machine, PageFault, "nothing mapped"):
        ring0.call(Encls.ERDINFO, OUT, 0x9000)


def test_faults_when_rbx_cannot_be_written(ring0: Ring0) -> None:
    with refuses(ring0.machine, PageFault, "nothing mapped"):
        ring0.call(Encls.ERDINFO, 0x9000, epc_address(3))


@pytest.mark.parametrize(("rbx", "rcx", "why"), [(16, 0, "RBX"), (0, 8, "RCX")])
def test_faults_on_a_misaligned_operand(
    ring0: Ring0, rbx: int, rcx: int, why: str
) -> None:
    with refuses(ring0.machine, GeneralProtection, why):
        ring0.call(Encls.ERDINFO, OUT + rbx, epc_address(9) + rcx)


def test_alignment_goes_before_what_the_page_is(ring0: Ring0) -> None:
    with refuses(ring0.machine, GeneralProtection, "RBX"):
        ring0.call(Encls.ERDINFO, OUT + 16, epc_address(9))
