from dataclasses import replace

import pytest

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.errors import SgxError
from softsgx.arch.faults import Fault, GeneralProtection, PageFault
from softsgx.arch.leaves import Encls
from softsgx.arch.pageinfo import Pageinfo, Pcmd
from softsgx.arch.secinfo import PageType, SecinfoFlags
from softsgx.machine.epcm import EpcmEntry
from softsgx.machine.memory import epc_address
from tests.support import (
    BASE,
    Ring0,
    refuses,
    slot_address,
    small_enclave,
)

VA, OTHER_VA = 9, 10
INFO, PCMD, OUT = 0x1000, 0x2000, 0x3000


@pytest.fixture
def ring0() -> Ring0:
    ring0 = small_enclave()
    ring0.epa(VA)
    ring0.epa(OTHER_VA)
    ring0.source(bytes(PAGE_SIZE))
    ring0.memory.put(PCMD, bytes(Pcmd.SIZE))
    ring0.pageinfo(srcpge=OUT, secinfo=PCMD)
    return ring0


def slot(ring0: Ring0, number: int, va_page: int = VA) -> int:
    raw = ring0.machine.epc.page(va_page)[number * 8 : number * 8 + 8]
    return int.from_bytes(raw, "little")


def ewb(ring0: Ring0, page: int, number: int = 0) -> None:
    ring0.call(Encls.EWB, INFO, epc_address(page), slot_address(VA, number))


def test_a_blocked_and_tracked_page_leaves(ring0: Ring0) -> None:
    children = ring0.enclave().children
    ring0.machine.epc.page(3)[:] = b"secret".ljust(PAGE_SIZE, b".")
    ring0.block(3)
    evicted = ring0.ewb(3, VA, 5)
    assert ring0.machine.epcm[3] == EpcmEntry()
    assert ring0.enclave().children == children - 1
    assert b"secret" not in evicted.page
    assert len(set(evicted.page)) > 200
    assert evicted.linaddr == BASE + 2 * PAGE_SIZE
    assert slot(ring0, 5)
    assert not slot(ring0, 4)
    assert not slot(ring0, 6)


def test_pcmd_tells_the_type_the_permissions_and_whose_it_is(ring0: Ring0) -> None:
    ring0.block(2)
    pcmd = Pcmd.from_bytes(ring0.ewb(2, VA).pcmd)
    assert pcmd.secinfo.flags == SecinfoFlags.of(PageType.REG, 0b101)
    assert pcmd.enclaveid == ring0.enclave().eid
    assert any(pcmd.mac)


@pytest.mark.parametrize(
    ("state", "bits"),
    [("pending", 1 << 3), ("modified", 1 << 4), ("pr", 1 << 5)],
)
def test_pcmd_keeps_what_the_enclave_has_not_accepted(
    ring0: Ring0, state: str, bits: int
) -> None:
    entry = ring0.machine.epcm[3]
    ring0.machine.epcm[3] = replace(entry, **{state: True})
    ring0.block(3)
    raw = ring0.ewb(3, VA).pcmd
    flags = SecinfoFlags.of(PageType.REG, 0b011 | bits)
    assert Pcmd.from_bytes(raw).secinfo.flags == flags
    assert Pcmd.reserved_is_zero(raw)


def test_old_bytes_of_the_pcmd_are_gone(ring0: Ring0) -> None:
    ring0.block(3)
    pcmd = bytearray(b"\xff" * Pcmd.SIZE)
    ring0.memory.put(PCMD, pcmd)
    ewb(ring0, 3)
    assert Pcmd.reserved_is_zero(bytes(pcmd))


def test_no_version_comes_twice(ring0: Ring0) -> None:
    pages = [1, 2, 3, 4]
    for page in pages:
        ring0.on_page(Encls.EBLOCK, page)
    ring0.on_page(Encls.ETRACK, 0)
    images = {ring0.ewb(page, VA, page).page for page in pages}
    assert len({slot(ring0, page) for page in pages}) == len(images) == len(pages)


def test_every_version_is_seen_by_a_debugger(ring0: Ring0) -> None:
    ring0.block(3)
    ewb(ring0, 3, 1)
    assert ring0.on_page(Encls.EDBGRD, VA, 8) == (1 << 64) - 1


def test_a_va_page_leaves_without_blocking(ring0: Ring0) -> None:
    pcmd = Pcmd.from_bytes(ring0.ewb(OTHER_VA, VA).pcmd)
    assert ring0.machine.epcm[OTHER_VA] == EpcmEntry()
    assert pcmd.secinfo.flags == SecinfoFlags.of(PageType.VA)
    assert pcmd.enclaveid == 0


def test_a_secs_leaves_last(ring0: Ring0) -> None:
    eid = ring0.enclave().eid
    for page in range(1, 5):
        with refuses(ring0.machine, SgxError.CHILD_PRESENT):
            ewb(ring0, 0)
        ring0.block(page)
        ring0.ewb(page, VA, page)
        ring0.pageinfo(srcpge=OUT, secinfo=PCMD)
    evicted = ring0.ewb(0, VA)
    assert not ring0.machine.enclaves
    pcmd = Pcmd.from_bytes(evicted.pcmd)
    assert (pcmd.secinfo.flags, pcmd.enclaveid, evicted.linaddr) == (0, eid, 0)


def test_clears_rax_and_flags(ring0: Ring0) -> None:
    ring0.block(3)
    ring0.lp.regs.rflags = 0x8D7
    ring0.leaf(Encls.EWB, INFO, epc_address(3), slot_address(VA, 0))
    assert (ring0.lp.regs.rax, ring0.lp.regs.rflags) == (0, 0x2)


def test_a_slot_in_use_is_told_and_overwritten(ring0: Ring0) -> None:
    ring0.block(3)
    ewb(ring0, 3, 7)
    old = slot(ring0, 7)
    ring0.block(2)
    ring0.pageinfo(srcpge=OUT, secinfo=PCMD)
    ring0.leaf(Encls.EWB, INFO, epc_address(2), slot_address(VA, 7))
    regs = ring0.lp.regs
    assert (regs.rax, regs.rflags) == (SgxError.VA_SLOT_OCCUPIED, 0x3)
    assert ring0.machine.epcm[2] == EpcmEntry()
    assert slot(ring0, 7) not in (old, 0)


def test_error_when_the_page_is_not_blocked(ring0: Ring0) -> None:
    with refuses(ring0.machine, SgxError.PAGE_NOT_BLOCKED):
        ewb(ring0, 3)


def test_error_when_nothing_was_tracked_since_the_page_was_blocked(
    ring0: Ring0,
) -> None:
    ring0.on_page(Encls.ETRACK, 0)
    ring0.on_page(Encls.EBLOCK, 3)
    with refuses(ring0.machine, SgxError.NOT_TRACKED):
        ewb(ring0, 3)


def test_error_until_who_was_inside_has_left(ring0: Ring0) -> None:
    ring0.enclave().enter(1)
    ring0.block(3)
    ring0.enclave().enter(2)
    with refuses(ring0.machine, SgxError.NOT_TRACKED):
        ewb(ring0, 3)
    ring0.enclave().leave(1)
    ewb(ring0, 3)


def test_which_flag_reports_an_error(ring0: Ring0) -> None:
    ring0.lp.regs.rflags = 0x8D7
    ring0.leaf(Encls.EWB, INFO, epc_address(3), slot_address(VA, 0))
    regs = ring0.lp.regs
    assert (regs.rax, regs.rflags) == (SgxError.PAGE_NOT_BLOCKED, 0x42)


FAULTS = [
    pytest.param((8, 0, 0), {}, GeneralProtection, "RBX", id="RBX"),
    pytest.param((0, 8, 0), {}, GeneralProtection, "RCX", id="RCX"),
    pytest.param((0, 0, 4), {}, GeneralProtection, "RDX", id="RDX"),
    pytest.param((0, 0, 0), {"linaddr": BASE}, GeneralProtection, "LINADDR", id="la"),
    pytest.param((0, 0, 0), {"secs": BASE}, GeneralProtection, "SECS", id="secs"),
    pytest.param((0, 0, 0), {"secinfo": PCMD + 64}, GeneralProtection, "PCMD", id="P"),
    pytest.param((0, 0, 0), {"srcpge": OUT + 8}, GeneralProtection, "SRCPGE", id="S"),
    pytest.param((0, 0, 0), {"srcpge": 0x9000}, PageFault, "nothing", id="no page"),
    pytest.param((0, 0, 0), {"secinfo": 0x9000}, PageFault, "nothing", id="no PCMD"),
]


@pytest.mark.parametrize(("add", "info", "what", "why"), FAULTS)
def test_faults_on_a_bad_operand(
    ring0: Ring0,
    add: tuple[int, int, int],
    info: dict[str, int],
    what: type[Fault],
    why: str,
) -> None:
    ring0.block(3)
    ring0.pageinfo(**{"srcpge": OUT, "secinfo": PCMD, **info})
    rbx, rcx, rdx = INFO, epc_address(3), slot_address(VA, 0)
    with refuses(ring0.machine, what, why):
        ring0.call(Encls.EWB, rbx + add[0], rcx + add[1], rdx + add[2])


def test_faults_when_rcx_is_outside_the_epc(ring0: Ring0) -> None:
    with refuses(ring0.machine, PageFault, "not in the EPC"):
        ring0.call(Encls.EWB, INFO, OUT, slot_address(VA, 0))


def test_faults_when_rdx_is_outside_the_epc(ring0: Ring0) -> None:
    with refuses(ring0.machine, PageFault, "not in the EPC"):
        ring0.call(Encls.EWB, INFO, epc_address(3), OUT)


def test_faults_when_the_page_holds_its_own_slot(ring0: Ring0) -> None:
    with refuses(ring0.machine, GeneralProtection, "same EPC page"):
        ewb(ring0, VA)


def test_faults_when_the_page_is_not_valid(ring0: Ring0) -> None:
    with refuses(ring0.machine, PageFault, "not valid"):
        ewb(ring0, 20)


@pytest.mark.parametrize("va_page", [0, 4, 20], ids=["SECS", "REG", "free"])
def test_faults_when_the_slot_is_in_no_va_page(ring0: Ring0, va_page: int) -> None:
    ring0.block(3)
    with refuses(ring0.machine, PageFault, "not a VA page"):
        ring0.call(Encls.EWB, INFO, epc_address(3), slot_address(va_page, 0))


def test_what_was_there_is_still_there_when_memory_outside_faults(
    ring0: Ring0,
) -> None:
    ring0.block(3)
    out = bytearray(b"old" + bytes(PAGE_SIZE - 3))
    ring0.memory.put(OUT, out)
    ring0.pageinfo(srcpge=OUT, secinfo=0x9000)
    with refuses(ring0.machine, PageFault):
        ewb(ring0, 3)
    assert out.startswith(b"old")


def test_pageinfo_gets_the_address(ring0: Ring0) -> None:
    ring0.block(3)
    info = bytearray(bytes(replace(Pageinfo.zero(), srcpge=OUT, secinfo=PCMD)))
    ring0.memory.put(INFO, info)
    ewb(ring0, 3)
    assert Pageinfo.from_bytes(bytes(info)) == Pageinfo(
        linaddr=BASE + 2 * PAGE_SIZE, srcpge=OUT, secinfo=PCMD, secs=0
    )
