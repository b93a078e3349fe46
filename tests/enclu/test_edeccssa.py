import pytest

from softsgx.arch.faults import GeneralProtection, PageFault
from softsgx.arch.leaves import Enclu
from softsgx.machine.aex import asynchronous_exit
from tests.enclu.world import (
    EPCM_WRITE,
    NOT_REGULAR_AND_USABLE,
    SSA,
    World,
    inside_world,
    new_world,
)


def nested_world() -> World:
    """A thread inside in its second frame: an AEX, then EENTER."""
    world = inside_world()
    asynchronous_exit(world.machine, world.lp, 32)
    world.eenter()
    return world


def test_edeccssa_decrements_cssa_and_goes_on() -> None:
    world = nested_world()
    rip = world.lp.regs.rip
    world.call(Enclu.EDECCSSA)
    assert world.tcs().cssa == 0
    assert world.lp.regs.rip == rip + 3
    assert world.lp.enclave_mode


def test_edeccssa_makes_the_next_exit_fill_the_previous_frame() -> None:
    world = nested_world()
    world.call(Enclu.EDECCSSA)
    world.lp.regs.r12 = 0x1212
    asynchronous_exit(world.machine, world.lp, 32)
    assert world.gprsgx(0).r12 == 0x1212
    assert world.tcs().cssa == 1


def test_edeccssa_leaves_rax_and_flags() -> None:
    world = nested_world()
    flags = world.lp.regs.rflags = 0x8D7
    world.call(Enclu.EDECCSSA)
    assert (world.lp.regs.rax, world.lp.regs.rflags) == (Enclu.EDECCSSA, flags)


def test_edeccssa_faults_when_cssa_is_0() -> None:
    world = inside_world()
    with pytest.raises(GeneralProtection, match="CSSA"):
        world.call(Enclu.EDECCSSA)


@pytest.mark.parametrize(
    "change",
    [*NOT_REGULAR_AND_USABLE.values(), {"r": False}, {"w": False}],
    ids=[*NOT_REGULAR_AND_USABLE, "not_readable", "not_writable"],
)
def test_edeccssa_faults_when_the_frames_page_is(change: dict[str, int]) -> None:
    world = nested_world()
    world.change_epcm(SSA, **change)
    with pytest.raises(PageFault) as caught:
        world.call(Enclu.EDECCSSA)
    assert (caught.value.address, caught.value.error_code) == (SSA, EPCM_WRITE)


def test_edeccssa_faults_outside() -> None:
    with pytest.raises(GeneralProtection):
        new_world().call(Enclu.EDECCSSA)
