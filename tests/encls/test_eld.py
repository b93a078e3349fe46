from dataclasses import replace

import pytest

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.errors import SgxError
from softsgx.arch.faults import Fault, GeneralProtection, PageFault
from softsgx.arch.leaves import Encls
from softsgx.arch.pageinfo import Pcmd
from softsgx.arch.secinfo import PageType, SecinfoFlags
from softsgx.machine.epcm import TRACKED, EpcmEntry
from softsgx.machine.machine import Snapshot
from softsgx.machine.memory import epc_address
from softsgx.machine.package import Package
from tests.support import (
    BASE,
    CountedEntropy,
    Evicted,
    Ring0,
    make_secs,
    refuses,
    slot_address,
    small_enclave,
)

VA, OTHER_VA, NEW = 9, 10, 20
INFO, PCMD, IN = 0x1000, 0x2000, 0x3000
LOADS = pytest.mark.parametrize(
    "leaf", [Encls.ELDB, Encls.ELDU, Encls.ELDBC, Encls.ELDUC]
)
MAC_FAILS = SgxError.MAC_COMPARE_FAIL


@pytest.fixture
def ring0() -> Ring0:
    ring0 = small_enclave()
    ring0.epa(VA)
    ring0.epa(OTHER_VA)
    ring0.machine.epc.page(3)[:] = b"secret".ljust(PAGE_SIZE, b".")
    return ring0


@pytest.fixture
def evicted(ring0: Ring0) -> Evicted:
    ring0.block(3)
    return ring0.ewb(3, VA, 5)


def slot(ring0: Ring0, number: int) -> bytes:
    return bytes(ring0.machine.epc.page(VA)[number * 8 : number * 8 + 8])


def seen(snapshot: Snapshot) -> Snapshot:
    """A snapshot without the last version: each eviction takes one."""
    return replace(snapshot, version=0)


@LOADS
def test_a_page_comes_back_as_it_went(ring0: Ring0, leaf: Encls) -> None:
    before = ring0.machine.epcm[3]
    children = ring0.enclave().children
    ring0.block(3)
    evicted = ring0.ewb(3, VA, 5)
    ring0.eld(leaf, evicted, NEW, VA, 5)
    is_blocked = leaf in {Encls.ELDB, Encls.ELDBC}
    assert ring0.machine.epcm[NEW] == replace(before, blocked=is_blocked, epoch=TRACKED)
    assert bytes(ring0.machine.epc.page(NEW)[:6]) == b"secret"
    assert ring0.enclave().children == children
    assert slot(ring0, 5) == bytes(8)


@LOADS
@pytest.mark.parametrize("state", ["pending", "modified", "pr"])
def test_what_the_enclave_has_not_accepted_stays_so(
    ring0: Ring0, leaf: Encls, state: str
) -> None:
    entry = replace(ring0.machine.epcm[3], **{state: True})
    ring0.machine.epcm[3] = entry
    ring0.block(3)
    ring0.eld(leaf, ring0.ewb(3, VA), NEW, VA)
    again = replace(ring0.machine.epcm[NEW], blocked=False, epoch=entry.epoch)
    assert again == entry


def test_a_tcs_comes_back_with_its_frames_in_use(ring0: Ring0) -> None:
    tcs = bytearray(ring0.machine.epc.page(1))
    tcs[24:28] = b"\1\0\0\0"
    ring0.machine.epc.page(1)[:] = tcs
    ring0.block(1)
    ring0.eld(Encls.ELDU, ring0.ewb(1, VA), 1, VA)
    assert bytes(ring0.machine.epc.page(1)) == bytes(tcs)
    assert ring0.machine.epcm[1].pt == PageType.TCS


def test_a_trimmed_page_comes_back(ring0: Ring0) -> None:
    ring0.emodt(3, PageType.TRIM)
    ring0.block(3)
    ring0.eld(Encls.ELDU, ring0.ewb(3, VA), 3, VA)
    entry = ring0.machine.epcm[3]
    assert (entry.pt, entry.modified, entry.r) == (PageType.TRIM, True, False)


def test_a_page_loaded_as_blocked_can_leave_at_once(ring0: Ring0) -> None:
    ring0.enclave().enter(1)
    ring0.on_page(Encls.EBLOCK, 3)
    ring0.enclave().leave(1)
    ring0.on_page(Encls.ETRACK, 0)
    ring0.enclave().enter(1)
    ring0.eld(Encls.ELDB, ring0.ewb(3, VA), NEW, VA)
    ring0.ewb(NEW, VA)
    assert not ring0.machine.epcm[NEW].valid


@LOADS
def test_a_va_page_comes_back_with_its_slots(
    ring0: Ring0, evicted: Evicted, leaf: Encls
) -> None:
    array = ring0.ewb(VA, OTHER_VA)
    with refuses(ring0.machine, PageFault, "not a VA page"):
        ring0.eld(leaf, evicted, NEW, VA, 5)
    ring0.eld(leaf, array, 30, OTHER_VA, secs=None)
    assert ring0.machine.epcm[30] == EpcmEntry(
        valid=True, pt=PageType.VA, epoch=TRACKED
    )
    ring0.eld(leaf, evicted, NEW, 30, 5)
    assert ring0.machine.epcm[NEW].valid


@LOADS
@pytest.mark.parametrize("initialized", [True, False])
def test_an_enclave_leaves_and_comes_back_whole(
    leaf: Encls, *, initialized: bool
) -> None:
    ring0 = small_enclave(initialized=initialized)
    ring0.epa(VA)
    ring0.enclave().isvfamilyid = b"f" * 16
    ring0.enclave().isvextprodid = b"e" * 16
    before = ring0.machine.snapshot()
    pages = {}
    for page in range(1, 5):
        ring0.block(page)
        pages[page] = ring0.ewb(page, VA, page)
    secs = ring0.ewb(0, VA)
    ring0.eld(leaf, secs, 0, VA, secs=None)
    for page, evicted in pages.items():
        ring0.eld(Encls.ELDU, evicted, page, VA, page)
    for page in pages:
        entry = ring0.machine.epcm[page]
        ring0.machine.epcm[page] = replace(entry, epoch=0)
    secs_entry = ring0.machine.epcm[0]
    assert not secs_entry.blocked
    ring0.machine.epcm[0] = replace(secs_entry, epoch=0)
    assert seen(ring0.machine.snapshot()) == seen(before)


def test_building_goes_on_where_it_was() -> None:
    one, other = small_enclave(initialized=False), small_enclave(initialized=False)
    one.epa(VA)
    for page in range(1, 5):
        one.block(page)
        one.ewb(page, VA, page)
    one.eld(Encls.ELDU, one.ewb(0, VA), 30, VA, secs=None)
    one.eadd(5, 8 * PAGE_SIZE, secs=30)
    other.eadd(5, 8 * PAGE_SIZE)
    assert one.enclave(30).measurement.digest() == other.enclave().measurement.digest()
    assert one.enclave(30).measurement.blocks == other.enclave().measurement.blocks
    assert not one.machine.measuring


@LOADS
def test_rax_and_flags_tell_how_it_ended(
    ring0: Ring0, evicted: Evicted, leaf: Encls
) -> None:
    regs = ring0.lp.regs
    regs.rflags = 0x8D7
    ring0.eld(leaf, evicted, NEW, VA, 5)
    assert (regs.rax, regs.rflags) == (0, 0x2)
    ring0.on_page(Encls.EREMOVE, NEW)
    regs.rflags = 0x8D7
    ring0.leaf(leaf, INFO, epc_address(NEW), slot_address(VA, 5))
    assert (regs.rax, regs.rflags) == (MAC_FAILS, 0x42)


# What does not come back


def flip(raw: bytes, at: int) -> bytes:
    return raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]


FORGED = {
    "the page": lambda e: replace(e, page=flip(e.page, 0)),
    "its last byte": lambda e: replace(e, page=flip(e.page, 4095)),
    "W": lambda e: replace(e, pcmd=flip(e.pcmd, 0)),
    "the type": lambda e: replace(e, pcmd=flip(e.pcmd, 1)),
    "reserved of SECINFO": lambda e: replace(e, pcmd=flip(e.pcmd, 40)),
    "reserved of PCMD": lambda e: replace(e, pcmd=flip(e.pcmd, 111)),
    "the MAC": lambda e: replace(e, pcmd=flip(e.pcmd, 127)),
    "the address": lambda e: replace(e, linaddr=e.linaddr + PAGE_SIZE),
}


@LOADS
@pytest.mark.parametrize("what", FORGED)
def test_error_when_anything_was_changed_outside(
    ring0: Ring0, evicted: Evicted, leaf: Encls, what: str
) -> None:
    forged = FORGED[what](evicted)
    # Of the forged type, a VA page, there is no enclave to name.
    secs = None if what == "the type" else 0
    with refuses(ring0.machine, MAC_FAILS):
        ring0.eld(leaf, forged, NEW, VA, 5, secs)
    ring0.eld(leaf, evicted, NEW, VA, 5)


def test_enclaveid_is_for_software_and_not_in_the_mac(
    ring0: Ring0, evicted: Evicted
) -> None:
    ring0.eld(Encls.ELDU, replace(evicted, pcmd=flip(evicted.pcmd, 64)), NEW, VA, 5)
    assert ring0.machine.epcm[NEW].valid


@LOADS
def test_error_with_another_slot(ring0: Ring0, evicted: Evicted, leaf: Encls) -> None:
    ring0.block(2)
    ring0.ewb(2, VA, 6)
    for number in (6, 7):
        with refuses(ring0.machine, MAC_FAILS):
            ring0.eld(leaf, evicted, NEW, VA, number)


@LOADS
def test_error_when_it_has_come_back_already(
    ring0: Ring0, evicted: Evicted, leaf: Encls
) -> None:
    ring0.eld(leaf, evicted, NEW, VA, 5)
    with refuses(ring0.machine, MAC_FAILS):
        ring0.eld(leaf, evicted, NEW + 1, VA, 5)


@LOADS
def test_error_with_an_older_copy(ring0: Ring0, evicted: Evicted, leaf: Encls) -> None:
    ring0.eld(Encls.ELDU, evicted, 3, VA, 5)
    ring0.block(3)
    newer = ring0.ewb(3, VA, 5)
    with refuses(ring0.machine, MAC_FAILS):
        ring0.eld(leaf, evicted, NEW, VA, 5)
    ring0.eld(leaf, newer, NEW, VA, 5)


@LOADS
def test_error_in_another_enclave(ring0: Ring0, evicted: Evicted, leaf: Encls) -> None:
    ring0.ecreate(40, make_secs())
    with refuses(ring0.machine, MAC_FAILS):
        ring0.eld(leaf, evicted, NEW, VA, 5, secs=40)


def test_error_after_a_reset(ring0: Ring0, evicted: Evicted) -> None:
    old = ring0.machine.package
    entropy = CountedEntropy(b"another boot")
    ring0.machine.package = Package.from_seed(b"seed", entropy)
    assert ring0.machine.package.fuses == old.fuses
    with refuses(ring0.machine, MAC_FAILS):
        ring0.eld(Encls.ELDU, evicted, NEW, VA, 5)


def test_a_page_whose_slot_was_overwritten_is_lost(
    ring0: Ring0, evicted: Evicted
) -> None:
    ring0.block(2)
    other = ring0.ewb(2, VA, 5)
    with refuses(ring0.machine, MAC_FAILS):
        ring0.eld(Encls.ELDU, evicted, NEW, VA, 5)
    ring0.eld(Encls.ELDU, other, NEW, VA, 5)


# Faults

FAULTS = [
    pytest.param((8, 0, 0), {}, GeneralProtection, "RBX", id="RBX"),
    pytest.param((0, 8, 0), {}, GeneralProtection, "RCX", id="RCX"),
    pytest.param((0, 0, 4), {}, GeneralProtection, "RDX", id="RDX"),
    pytest.param((0, 0, 0), {"secinfo": PCMD + 64}, GeneralProtection, "PCMD", id="P"),
    pytest.param((0, 0, 0), {"srcpge": IN + 8}, GeneralProtection, "SRCPGE", id="S"),
    pytest.param((0, 0, 0), {"secs": epc_address(0) + 8}, GeneralProtection, "SECS"),
    pytest.param((0, 0, 0), {"secs": IN}, PageFault, "not in the EPC", id="no SECS"),
    pytest.param((0, 0, 0), {"secs": epc_address(4)}, PageFault, "not a SECS"),
    pytest.param((0, 0, 0), {"srcpge": 0x9000}, PageFault, "nothing", id="no page"),
    pytest.param((0, 0, 0), {"secinfo": 0x9000}, PageFault, "nothing", id="no PCMD"),
]


@LOADS
@pytest.mark.parametrize(("add", "info", "what", "why"), FAULTS)
def test_faults_on_a_bad_operand(  # noqa: PLR0917 -- what is bad, and how
    ring0: Ring0,
    evicted: Evicted,
    leaf: Encls,
    add: tuple[int, int, int],
    info: dict[str, int],
    what: type[Fault],
    why: str,
) -> None:
    ring0.source(evicted.page)
    ring0.memory.put(PCMD, evicted.pcmd)
    good = {"srcpge": IN, "secinfo": PCMD, "secs": epc_address(0)}
    ring0.pageinfo(**{"linaddr": evicted.linaddr, **good, **info})
    rbx, rcx, rdx = INFO, epc_address(NEW), slot_address(VA, 5)
    with refuses(ring0.machine, what, why):
        ring0.call(leaf, rbx + add[0], rcx + add[1], rdx + add[2])
    ring0.pageinfo(**{"linaddr": evicted.linaddr, **good})
    ring0.call(leaf, rbx, rcx, rdx)


@LOADS
def test_faults_outside_the_epc(ring0: Ring0, leaf: Encls) -> None:
    ring0.pageinfo()
    with refuses(ring0.machine, PageFault, "not in the EPC"):
        ring0.call(leaf, INFO, IN, slot_address(VA, 0))
    with refuses(ring0.machine, PageFault, "not in the EPC"):
        ring0.call(leaf, INFO, epc_address(NEW), IN)


@LOADS
def test_faults_when_the_page_is_in_use(
    ring0: Ring0, evicted: Evicted, leaf: Encls
) -> None:
    for page in (0, 4, OTHER_VA):
        with refuses(ring0.machine, PageFault, "in use"):
            ring0.eld(leaf, evicted, page, VA, 5)


@LOADS
@pytest.mark.parametrize("va_page", [0, 4, 21], ids=["SECS", "REG", "free"])
def test_faults_when_the_slot_is_in_no_va_page(
    ring0: Ring0, evicted: Evicted, leaf: Encls, va_page: int
) -> None:
    with refuses(ring0.machine, PageFault, "not a VA page"):
        ring0.eld(leaf, evicted, NEW, va_page, 5)


@LOADS
def test_faults_when_a_page_without_an_enclave_names_one(
    ring0: Ring0, leaf: Encls
) -> None:
    array = ring0.ewb(OTHER_VA, VA)
    with refuses(ring0.machine, GeneralProtection, "has none"):
        ring0.eld(leaf, array, NEW, VA, secs=0)


@LOADS
def test_a_type_that_no_page_has_fails_its_mac(ring0: Ring0, leaf: Encls) -> None:
    flags = SecinfoFlags.of(PageType.SS_FIRST)
    pcmd = bytes(flags.to_bytes(8, "little")).ljust(Pcmd.SIZE, b"\0")
    with refuses(ring0.machine, MAC_FAILS):
        ring0.eld(leaf, Evicted(bytes(PAGE_SIZE), pcmd, BASE), NEW, VA, secs=None)
