import pytest

from softsgx.arch.faults import GeneralProtection, PageFault
from softsgx.arch.leaves import Enclu
from softsgx.arch.secinfo import PageType, SecinfoFlags
from tests.enclu.world import (
    ABSENT,
    BASE,
    DATA,
    DATA2,
    EPCM_READ,
    NOT_REGULAR_AND_USABLE,
    SIZE,
    TCS2,
    World,
    inside_world,
    new_world,
)

R, W, X = SecinfoFlags.R, SecinfoFlags.W, SecinfoFlags.X


def extend(world: World, flags: int, target: int = DATA2) -> None:
    world.call(Enclu.EMODPE, world.put_secinfo(flags), target)


@pytest.mark.parametrize("old", [0, R, R | X, R | W | X])
@pytest.mark.parametrize("new", [0, R, R | W, X, R | W | X])
def test_emodpe_adds_permissions(old: int, new: int) -> None:
    world = inside_world()
    world.change_epcm(DATA2, r=bool(old & R), w=bool(old & W), x=bool(old & X))
    extend(world, new)
    assert world.entry(DATA2).state & 7 == old | new


def test_emodpe_ignores_the_page_type_and_state_in_secinfo() -> None:
    world = inside_world()
    extend(world, SecinfoFlags.of(PageType.TRIM, X | 0x38))
    entry = world.entry(DATA2)
    assert (entry.pt, entry.x) == (PageType.REG, True)
    assert (entry.pending, entry.modified, entry.pr) == (False, False, False)


def test_emodpe_keeps_pr() -> None:
    world = inside_world()
    world.change_epcm(DATA2, pr=True)
    extend(world, X)
    assert world.entry(DATA2).pr


def test_emodpe_leaves_rax_and_flags_and_goes_on() -> None:
    world = inside_world()
    rip, flags = world.lp.regs.rip, 0x8D7
    world.lp.regs.rflags = flags
    extend(world, X)
    assert (world.lp.regs.rax, world.lp.regs.rflags) == (Enclu.EMODPE, flags)
    assert world.lp.regs.rip == rip + 3


def test_emodpe_faults_when_the_page_would_be_writable_and_not_readable() -> None:
    world = inside_world()
    world.change_epcm(DATA2, r=False, w=False)
    with pytest.raises(GeneralProtection, match="writable"):
        extend(world, W)


def test_emodpe_adds_w_alone_to_a_readable_page() -> None:
    world = inside_world()
    world.change_epcm(DATA2, w=False)
    extend(world, W)
    assert world.entry(DATA2).w


@pytest.mark.parametrize("change", [*NOT_REGULAR_AND_USABLE.values()])
def test_emodpe_faults_when_the_target_is(change: dict[str, int]) -> None:
    world = inside_world()
    world.change_epcm(DATA2, **change)
    with pytest.raises(PageFault) as caught:
        extend(world, X)
    assert (caught.value.address, caught.value.error_code) == (DATA2, EPCM_READ)


def test_emodpe_faults_on_a_tcs() -> None:
    with pytest.raises(PageFault):
        extend(inside_world(), R, TCS2)


@pytest.mark.parametrize(
    "change",
    [*NOT_REGULAR_AND_USABLE.values(), {"r": False}],
    ids=[*NOT_REGULAR_AND_USABLE, "not_readable"],
)
def test_emodpe_faults_when_the_secinfos_page_is(change: dict[str, int]) -> None:
    world = inside_world()
    world.change_epcm(DATA, **change)
    with pytest.raises(PageFault) as caught:
        extend(world, X)
    assert (caught.value.address, caught.value.error_code) == (DATA, EPCM_READ)


@pytest.mark.parametrize("flags", [X | 1 << 6, X | 1 << 16])
def test_emodpe_faults_when_secinfo_has_reserved_flags(flags: int) -> None:
    with pytest.raises(GeneralProtection, match="SECINFO"):
        extend(inside_world(), flags)


@pytest.mark.parametrize(
    ("rbx", "rcx", "rule"),
    [
        (DATA + 32, DATA2, "RBX"),
        (DATA, DATA2 + 64, "RCX"),
        (BASE + SIZE, DATA2, "RBX"),
        (DATA, BASE - 4096, "RCX"),
    ],
)
def test_emodpe_faults_when_an_operand_is_misplaced(
    rbx: int, rcx: int, rule: str
) -> None:
    with pytest.raises(GeneralProtection, match=rule):
        inside_world().call(Enclu.EMODPE, rbx, rcx)


@pytest.mark.parametrize("absent", [DATA, ABSENT])
def test_emodpe_of_an_absent_page_is_the_page_tables_fault(absent: int) -> None:
    world = inside_world()
    world.memory.absent.add(absent)
    with pytest.raises(PageFault) as caught:
        extend(world, X, ABSENT)
    assert (caught.value.address, caught.value.error_code) == (absent, 4)


def test_emodpe_finds_an_absent_target_before_it_reads_secinfo() -> None:
    world = inside_world()
    world.memory.absent.add(ABSENT)
    with pytest.raises(PageFault):
        extend(world, 1 << 6, ABSENT)


def test_emodpe_faults_outside() -> None:
    with pytest.raises(GeneralProtection, match="side"):
        extend(new_world(), X)


def test_emodpe_finds_an_absent_secinfo_first() -> None:
    world = inside_world()
    world.memory.absent |= {DATA, ABSENT}
    with pytest.raises(PageFault) as caught:
        extend(world, X, ABSENT)
    assert caught.value.address == DATA
