import pytest

from softsgx.arch.faults import GeneralProtection
from softsgx.arch.leaves import Enclu
from softsgx.arch.tcs import TcsFlags
from softsgx.machine.processor import RFLAGS_TF
from tests.enclu.world import AEP, CODE, TCS, inside_world, new_world

TARGET = 0x5555_0000_3000


def test_eexit_continues_at_rbx() -> None:
    world = inside_world()
    world.eexit(TARGET)
    assert world.lp.regs.rip == TARGET
    assert not world.lp.enclave_mode


def test_eexit_returns_the_aep_in_rcx() -> None:
    world = inside_world()
    world.eexit()
    assert world.lp.regs.rcx == AEP


def test_eexit_returns_the_aep_of_the_last_entry() -> None:
    world = inside_world()
    world.eexit()
    world.eenter(TCS, AEP + 16)
    world.eexit()
    assert world.lp.regs.rcx == AEP + 16


def test_eexit_restores_fs_gs_and_xcr0() -> None:
    world = new_world()
    world.lp.regs.fsbase, world.lp.regs.gsbase = 0x1000, 0x2000
    world.eenter()
    world.eexit()
    assert (world.lp.regs.fsbase, world.lp.regs.gsbase) == (0x1000, 0x2000)
    assert world.lp.xcr0 == 7


def test_eexit_leaves_the_other_registers() -> None:
    world = inside_world()
    regs = world.lp.regs
    regs.rdx, regs.rsi, regs.rsp, regs.rbp, regs.r12 = 1, 2, 3, 4, 12
    world.call(Enclu.EEXIT, TARGET, 0, 1)
    assert (regs.rdx, regs.rsi, regs.rsp, regs.rbp, regs.r12) == (1, 2, 3, 4, 12)
    assert regs.rbx == TARGET


def test_eexit_frees_the_tcs() -> None:
    world = inside_world()
    world.eexit()
    assert (world.tcs().stage, world.tcs().cssa) == (0, 0)
    assert world.enclave.inside == {}
    world.eenter()


@pytest.mark.parametrize("was_set", [False, True])
def test_eexit_restores_tf_on_opt_out(was_set: bool) -> None:  # noqa: FBT001
    world = new_world()
    world.lp.regs.rflags |= RFLAGS_TF * was_set
    world.eenter()
    world.lp.regs.rflags ^= RFLAGS_TF
    world.eexit()
    assert bool(world.lp.regs.rflags & RFLAGS_TF) == was_set


def test_eexit_leaves_tf_alone_on_opt_in() -> None:
    world = new_world()
    world.change_tcs(flags=TcsFlags.DBGOPTIN)
    world.eenter()
    world.lp.regs.rflags |= RFLAGS_TF
    world.eexit()
    assert world.lp.regs.rflags & RFLAGS_TF


def test_eexit_faults_when_rbx_is_not_canonical() -> None:
    world = inside_world()
    with pytest.raises(GeneralProtection, match="RBX"):
        world.eexit(1 << 47)
    assert world.lp.enclave_mode


def test_eexit_takes_a_target_inside_the_enclave() -> None:
    world = inside_world()
    world.eexit(CODE)
    assert world.lp.regs.rip == CODE
