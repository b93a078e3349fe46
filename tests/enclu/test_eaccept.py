import pytest

from softsgx.arch.errors import SgxError
from softsgx.arch.faults import GeneralProtection, PageFault
from softsgx.arch.leaves import Enclu
from softsgx.arch.secinfo import PageType, SecinfoFlags
from softsgx.arch.tcs import Tcs
from softsgx.machine.aex import asynchronous_exit
from softsgx.machine.processor import RFLAGS_ARITHMETIC, RFLAGS_CF, RFLAGS_ZF
from tests.enclu.world import (
    ABSENT,
    BASE,
    DATA,
    DATA2,
    DATA3,
    EPCM_READ,
    NOT_REGULAR_AND_USABLE,
    OTHER_SECS_PAGE,
    READ_ONLY,
    SIZE,
    World,
    inside_world,
    new_world,
)

R, W, X = SecinfoFlags.R, SecinfoFlags.W, SecinfoFlags.X
PENDING, MODIFIED, PR = SecinfoFlags.PENDING, SecinfoFlags.MODIFIED, SecinfoFlags.PR
REG = SecinfoFlags.of(PageType.REG)
TCS_TYPE = SecinfoFlags.of(PageType.TCS)
TRIM = SecinfoFlags.of(PageType.TRIM)
AUGMENTED = REG | R | W | PENDING


def augmented_world(**changes: int) -> World:
    world = inside_world()
    world.change_epcm(DATA2, **({"pending": True} | changes))
    return world


def tracked_world(**changes: int) -> World:
    """A world in which the system changed DATA2 and tracked the change."""
    world = new_world()
    world.change_epcm(DATA2, **changes)
    world.enclave.epoch = 1
    world.eenter()
    return world


def accept(world: World, flags: int, target: int = DATA2) -> int:
    world.call(Enclu.EACCEPT, world.put_secinfo(flags), target)
    return world.lp.regs.rax


@pytest.mark.parametrize(
    ("changes", "flags"),
    [
        ({"pending": True}, AUGMENTED),
        ({"pending": True, "pr": True}, AUGMENTED | PR),
        ({"pr": True, "w": False}, REG | R | PR),
        ({"pr": True, "x": True}, REG | R | W | X | PR),
        ({"pt": PageType.TRIM, "modified": True, "r": 0, "w": 0}, TRIM | MODIFIED),
    ],
)
def test_eaccept_clears_pending_modified_and_pr(
    changes: dict[str, int], flags: int
) -> None:
    world = tracked_world(**changes)
    before = world.entry(DATA2)
    assert accept(world, flags) == 0
    after = world.entry(DATA2)
    assert (after.pending, after.modified, after.pr) == (False, False, False)
    assert (after.r, after.w, after.x) == (before.r, before.w, before.x)
    assert (after.pt, after.enclaveaddress) == (before.pt, before.enclaveaddress)


def test_eaccept_clears_zf_and_the_arithmetic_flags_on_success() -> None:
    world = augmented_world()
    world.lp.regs.rflags |= RFLAGS_ARITHMETIC
    accept(world, AUGMENTED)
    assert not world.lp.regs.rflags & RFLAGS_ARITHMETIC


def test_eaccept_sets_zf_alone_on_failure_and_goes_on() -> None:
    world = augmented_world()
    rip = world.lp.regs.rip
    world.lp.regs.rflags |= RFLAGS_CF
    accept(world, AUGMENTED | X)
    assert world.lp.regs.rflags & RFLAGS_ARITHMETIC == RFLAGS_ZF
    assert world.lp.regs.rip == rip + 3


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param(REG | W | PENDING, id="r"),
        pytest.param(REG | R | PENDING, id="w"),
        pytest.param(REG | R | W | X | PENDING, id="x"),
        pytest.param(REG | R | W | PR, id="pending"),
        pytest.param(TRIM | R | W | MODIFIED, id="modified_and_type"),
    ],
)
def test_eaccept_fails_when_secinfo_differs_in(flags: int) -> None:
    world = augmented_world()
    before = world.entry(DATA2)
    assert accept(world, flags) == SgxError.PAGE_ATTRIBUTES_MISMATCH
    assert world.entry(DATA2) == before


def test_eaccept_fails_when_the_type_differs_only() -> None:
    world = tracked_world(pt=PageType.TRIM, modified=True, r=False, w=False)
    assert accept(world, TCS_TYPE | MODIFIED) == SgxError.PAGE_ATTRIBUTES_MISMATCH


def test_eaccept_fails_when_modified_differs_only() -> None:
    world = tracked_world(pt=PageType.TRIM, r=False, w=False)
    assert accept(world, TRIM | MODIFIED) == SgxError.PAGE_ATTRIBUTES_MISMATCH


def test_eaccept_does_not_compare_pr() -> None:
    # The manual's list of what is compared leaves PR out.
    world = augmented_world()
    assert accept(world, AUGMENTED | PR) == 0


def test_eaccept_fails_when_the_page_is_at_another_address() -> None:
    world = augmented_world(enclaveaddress=DATA3)
    assert accept(world, AUGMENTED) == SgxError.PAGE_ATTRIBUTES_MISMATCH


# legal requests


@pytest.mark.parametrize(
    "flags",
    [
        pytest.param(REG | R | W, id="reg_without_pending_or_pr"),
        pytest.param(REG | R | W | PENDING | MODIFIED, id="reg_modified"),
        pytest.param(REG | R | W | MODIFIED, id="reg_modified_only"),
        pytest.param(TCS_TYPE, id="tcs_not_modified"),
        pytest.param(TCS_TYPE | MODIFIED | PENDING, id="tcs_pending"),
        pytest.param(TCS_TYPE | MODIFIED | PR, id="tcs_pr"),
        pytest.param(TRIM, id="trim_not_modified"),
        pytest.param(TRIM | MODIFIED | PENDING, id="trim_pending"),
        pytest.param(TRIM | MODIFIED | PR, id="trim_pr"),
        pytest.param(SecinfoFlags.of(PageType.SECS, MODIFIED), id="secs"),
        pytest.param(SecinfoFlags.of(PageType.VA, PENDING), id="va"),
        pytest.param(SecinfoFlags.of(PageType.SS_FIRST, PENDING), id="ss_first"),
    ],
)
def test_eaccept_faults_on_an_illegal_request(flags: int) -> None:
    with pytest.raises(GeneralProtection, match="legal"):
        accept(augmented_world(), flags)


# tracking


@pytest.mark.parametrize(
    ("changes", "flags"),
    [
        ({"pr": True}, REG | R | W | PR),
        ({"pt": PageType.TRIM, "modified": True, "r": 0, "w": 0}, TRIM | MODIFIED),
    ],
)
def test_eaccept_fails_when_the_change_was_not_tracked(
    changes: dict[str, int], flags: int
) -> None:
    world = inside_world()
    world.change_epcm(DATA2, **changes)
    assert accept(world, flags) == SgxError.NOT_TRACKED
    assert world.entry(DATA2).pr == bool(changes.get("pr"))


def test_eaccept_fails_while_a_thread_of_the_old_epoch_is_inside() -> None:
    world = tracked_world(pr=True)
    world.enclave.inside[9] = 0
    assert accept(world, REG | R | W | PR) == SgxError.NOT_TRACKED
    world.enclave.leave(9)
    assert accept(world, REG | R | W | PR) == 0


def test_eaccept_fails_if_the_accepting_thread_never_left() -> None:
    world = inside_world()
    world.change_epcm(DATA2, pr=True)
    world.enclave.epoch = 1
    assert accept(world, REG | R | W | PR) == SgxError.NOT_TRACKED
    asynchronous_exit(world.machine, world.lp, 32)
    world.eresume()
    assert accept(world, REG | R | W | PR) == 0


def test_eaccept_of_an_augmented_page_needs_no_tracking() -> None:
    assert accept(augmented_world(), AUGMENTED) == 0


def test_eaccept_compares_before_it_looks_at_the_tracking() -> None:
    world = inside_world()
    world.change_epcm(DATA2, pr=True)
    failed = accept(world, REG | R | PR)
    assert failed == SgxError.PAGE_ATTRIBUTES_MISMATCH


# a page that becomes a TCS


def becoming_a_tcs(raw: bytes) -> World:
    world = tracked_world(pt=PageType.TCS, modified=True, r=False, w=False)
    world.put(DATA2, raw)
    return world


def tcs_image(**fields: int) -> bytes:
    raw = bytearray(Tcs.SIZE)
    for cell in Tcs.cells():
        value = {"nssa": 1, **fields}.get(cell.name, 0)
        raw[cell.offset : cell.offset + cell.size] = value.to_bytes(cell.size, "little")
    return bytes(raw)


def test_eaccept_accepts_a_tcs_that_can_be_entered() -> None:
    world = becoming_a_tcs(tcs_image(flags=2))
    assert accept(world, TCS_TYPE | MODIFIED) == 0
    assert world.entry(DATA2).pt == PageType.TCS


def test_eaccept_accepts_a_tcs_without_frames_which_is_never_entered() -> None:
    world = becoming_a_tcs(bytes(Tcs.SIZE))
    assert accept(world, TCS_TYPE | MODIFIED) == 0
    assert not world.entry(DATA2).modified


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"flags": 1}, "DBGOPTIN"),
        ({"cssa": 1}, "NSSA"),
        ({"cssa": 1, "nssa": 0}, "NSSA"),
        ({"aep": 1}, "AEP"),
        ({"stage": 1}, "STAGE"),
    ],
)
def test_eaccept_faults_when_the_coming_tcs_has(
    fields: dict[str, int], rule: str
) -> None:
    world = becoming_a_tcs(tcs_image(**fields))
    with pytest.raises(GeneralProtection, match=rule):
        accept(world, TCS_TYPE | MODIFIED)
    assert world.entry(DATA2).modified


@pytest.mark.parametrize("offset", [72, 80, 88, 4095])
def test_eaccept_faults_when_the_coming_tcs_has_reserved_bytes(offset: int) -> None:
    world = becoming_a_tcs(tcs_image())
    world.put(DATA2 + offset, b"\1")
    with pytest.raises(GeneralProtection, match="reserved"):
        accept(world, TCS_TYPE | MODIFIED)


# operands


def test_eaccept_faults_when_rbx_is_not_aligned() -> None:
    with pytest.raises(GeneralProtection, match="RBX"):
        augmented_world().call(Enclu.EACCEPT, DATA + 32, DATA2)


def test_eaccept_faults_when_rcx_is_not_aligned() -> None:
    with pytest.raises(GeneralProtection, match="RCX"):
        accept(augmented_world(), AUGMENTED, DATA2 + 64)


@pytest.mark.parametrize("outside", [BASE - 4096, BASE + SIZE])
def test_eaccept_faults_when_rbx_is_outside_elrange(outside: int) -> None:
    with pytest.raises(GeneralProtection, match="RBX"):
        augmented_world().call(Enclu.EACCEPT, outside, DATA2)


@pytest.mark.parametrize("outside", [BASE - 4096, BASE + SIZE])
def test_eaccept_faults_when_rcx_is_outside_elrange(outside: int) -> None:
    with pytest.raises(GeneralProtection, match="RCX"):
        accept(augmented_world(), AUGMENTED, outside)


@pytest.mark.parametrize("offset", [8, 63])
def test_eaccept_faults_when_secinfo_has_reserved_bytes(offset: int) -> None:
    world = augmented_world()
    world.put_secinfo(AUGMENTED)
    world.put(DATA + offset, b"\1")
    with pytest.raises(GeneralProtection, match="SECINFO"):
        world.call(Enclu.EACCEPT, DATA, DATA2)


@pytest.mark.parametrize("bit", [6, 7, 16, 63])
def test_eaccept_faults_when_secinfo_has_reserved_flags(bit: int) -> None:
    with pytest.raises(GeneralProtection, match="SECINFO"):
        accept(augmented_world(), AUGMENTED | 1 << bit)


@pytest.mark.parametrize(
    "change",
    [*NOT_REGULAR_AND_USABLE.values(), {"r": False}],
    ids=[*NOT_REGULAR_AND_USABLE, "not_readable"],
)
def test_eaccept_faults_when_the_secinfos_page_is(change: dict[str, int]) -> None:
    world = augmented_world()
    world.put_secinfo(AUGMENTED)
    world.change_epcm(DATA, **change)
    with pytest.raises(PageFault) as caught:
        world.call(Enclu.EACCEPT, DATA, DATA2)
    assert (caught.value.address, caught.value.error_code) == (DATA, EPCM_READ)


def test_eaccept_takes_a_secinfo_in_a_read_only_page() -> None:
    world = augmented_world()
    world.call(Enclu.EACCEPT, world.put_secinfo(AUGMENTED, READ_ONLY), DATA2)
    assert world.lp.regs.rax == 0


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"valid": False}, id="not_valid"),
        pytest.param({"blocked": True}, id="blocked"),
        pytest.param({"pt": PageType.VA}, id="a_va_page"),
        pytest.param({"enclavesecs": OTHER_SECS_PAGE}, id="another_enclaves"),
    ],
)
def test_eaccept_faults_when_the_target_is(change: dict[str, int]) -> None:
    world = augmented_world(**change)
    with pytest.raises(PageFault) as caught:
        accept(world, AUGMENTED)
    assert (caught.value.address, caught.value.error_code) == (DATA2, EPCM_READ)


def test_eaccept_of_an_absent_page_is_the_page_tables_read_fault() -> None:
    world = inside_world()
    world.memory.absent.add(ABSENT)
    with pytest.raises(PageFault) as caught:
        accept(world, AUGMENTED, ABSENT)
    assert (caught.value.address, caught.value.error_code) == (ABSENT, 4)


def test_eaccept_checks_rbx_before_rcx() -> None:
    world = augmented_world()
    with pytest.raises(GeneralProtection, match="RBX"):
        world.call(Enclu.EACCEPT, DATA + 1, DATA2 + 1)
    world.change_epcm(DATA, blocked=True)
    with pytest.raises(PageFault):
        accept(world, AUGMENTED, DATA2 + 1)


def test_eaccept_faults_outside() -> None:
    with pytest.raises(GeneralProtection, match="side"):
        accept(new_world(), AUGMENTED)
