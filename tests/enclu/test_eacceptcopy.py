import pytest

from softsgx.arch.errors import SgxError
from softsgx.arch.faults import GeneralProtection, PageFault
from softsgx.arch.leaves import Enclu
from softsgx.arch.secinfo import PageType, SecinfoFlags
from softsgx.machine.processor import RFLAGS_ARITHMETIC, RFLAGS_ZF
from tests.enclu.world import (
    ABSENT,
    BASE,
    DATA,
    DATA2,
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
REG = SecinfoFlags.of(PageType.REG)
SOURCE = READ_ONLY
CONTENTS = bytes(range(256)) * 16


def augmented_world(**changes: int) -> World:
    """DATA2 is pending as EAUG left it, SOURCE holds the contents."""
    world = inside_world()
    world.put(SOURCE, CONTENTS)
    world.change_epcm(DATA2, **({"pending": True} | changes))
    return world


def copy(
    world: World, flags: int = REG | R | W, target: int = DATA2, source: int = SOURCE
) -> int:
    world.call(Enclu.EACCEPTCOPY, world.put_secinfo(flags), target, source)
    return world.lp.regs.rax


@pytest.mark.parametrize("flags", [REG | R, REG | R | W, REG | R | X, REG | X, REG])
def test_eacceptcopy_fills_the_page_and_sets_its_permissions(flags: int) -> None:
    world = augmented_world()
    assert copy(world, flags) == 0
    entry = world.entry(DATA2)
    assert world.bytes_at(DATA2, 4096) == CONTENTS
    assert not entry.pending
    assert entry.state & 7 == flags & 7


def test_eacceptcopy_clears_zf_on_success() -> None:
    world = augmented_world()
    world.lp.regs.rflags |= RFLAGS_ARITHMETIC
    rip = world.lp.regs.rip
    copy(world)
    assert not world.lp.regs.rflags & RFLAGS_ARITHMETIC
    assert world.lp.regs.rip == rip + 3


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"valid": False}, id="not_valid"),
        pytest.param({"pending": False}, id="not_pending"),
        pytest.param({"modified": True}, id="modified"),
        pytest.param({"blocked": True}, id="blocked"),
        pytest.param({"pt": PageType.TCS}, id="not_regular"),
        pytest.param({"enclavesecs": OTHER_SECS_PAGE}, id="another_enclaves"),
        pytest.param({"r": False}, id="not_readable"),
        pytest.param({"w": False}, id="not_writable"),
        pytest.param({"x": True}, id="executable"),
        pytest.param({"enclaveaddress": ABSENT}, id="at_another_address"),
    ],
)
def test_eacceptcopy_fails_when_the_target_is(change: dict[str, int]) -> None:
    world = augmented_world(**change)
    before = world.machine.snapshot()
    world.put_secinfo(REG | R | W)
    with_secinfo = world.machine.snapshot()
    assert copy(world) == SgxError.PAGE_ATTRIBUTES_MISMATCH
    assert world.lp.regs.rflags & RFLAGS_ZF
    assert world.machine.snapshot() == with_secinfo != before


@pytest.mark.parametrize(
    ("flags", "rule"),
    [
        (REG | W, "W and not R"),
        (SecinfoFlags.of(PageType.TCS, R | W), "regular"),
        (SecinfoFlags.of(PageType.TRIM, R | W), "regular"),
        (REG | R | 1 << 7, "SECINFO"),
        (REG | R | 1 << 20, "SECINFO"),
    ],
)
def test_eacceptcopy_faults_when_secinfo_is(flags: int, rule: str) -> None:
    with pytest.raises(GeneralProtection, match=rule):
        copy(augmented_world(), flags)


def test_eacceptcopy_faults_when_secinfo_has_reserved_bytes() -> None:
    world = augmented_world()
    world.put_secinfo(REG | R | W)
    world.put(DATA + 40, b"\1")
    with pytest.raises(GeneralProtection, match="SECINFO"):
        world.call(Enclu.EACCEPTCOPY, DATA, DATA2, SOURCE)


def pages() -> list[object]:
    return [
        pytest.param(change, id=name)
        for name, change in {**NOT_REGULAR_AND_USABLE, "not_readable": {"r": 0}}.items()
    ]


@pytest.mark.parametrize("change", pages())
def test_eacceptcopy_faults_when_the_source_is(change: dict[str, int]) -> None:
    world = augmented_world()
    world.change_epcm(SOURCE, **change)
    with pytest.raises(PageFault) as caught:
        copy(world)
    assert (caught.value.address, caught.value.error_code) == (SOURCE, EPCM_READ)


@pytest.mark.parametrize("change", pages())
def test_eacceptcopy_faults_when_the_secinfos_page_is(change: dict[str, int]) -> None:
    world = augmented_world()
    world.change_epcm(DATA, **change)
    with pytest.raises(PageFault) as caught:
        copy(world)
    assert (caught.value.address, caught.value.error_code) == (DATA, EPCM_READ)


@pytest.mark.parametrize(
    ("rbx", "rcx", "rdx", "rule"),
    [
        (DATA + 32, DATA2, SOURCE, "RBX"),
        (DATA, DATA2 + 64, SOURCE, "RCX"),
        (DATA, DATA2, SOURCE + 64, "RDX"),
        (BASE + SIZE, DATA2, SOURCE, "RBX"),
        (DATA, BASE + SIZE, SOURCE, "RCX"),
        (DATA, DATA2, BASE - 4096, "RDX"),
    ],
)
def test_eacceptcopy_faults_when_an_operand_is_misplaced(
    rbx: int, rcx: int, rdx: int, rule: str
) -> None:
    with pytest.raises(GeneralProtection, match=rule):
        augmented_world().call(Enclu.EACCEPTCOPY, rbx, rcx, rdx)


@pytest.mark.parametrize(("absent", "code"), [(DATA, 4), (DATA2, 6), (SOURCE, 4)])
def test_eacceptcopy_of_an_absent_page_is_the_page_tables_fault(
    absent: int, code: int
) -> None:
    world = augmented_world()
    world.memory.absent.add(absent)
    with pytest.raises(PageFault) as caught:
        copy(world)
    assert (caught.value.address, caught.value.error_code) == (absent, code)


def test_eacceptcopy_finds_absent_pages_before_it_reads_the_epcm() -> None:
    world = augmented_world()
    world.memory.absent.add(SOURCE)
    world.change_epcm(DATA, blocked=True)
    with pytest.raises(PageFault) as caught:
        copy(world)
    assert caught.value.address == SOURCE


def test_eacceptcopy_faults_outside() -> None:
    with pytest.raises(GeneralProtection, match="side"):
        copy(new_world())


def test_eacceptcopy_finds_an_absent_secinfo_first() -> None:
    world = augmented_world()
    world.memory.absent |= {DATA, DATA2}
    with pytest.raises(PageFault) as caught:
        copy(world)
    assert caught.value.address == DATA
