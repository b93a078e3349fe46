from dataclasses import replace

import pytest

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.errors import SgxError
from softsgx.arch.faults import GeneralProtection, InvalidOpcode, PageFault
from softsgx.arch.leaves import Enclu
from softsgx.arch.msr import FeatureControl
from softsgx.arch.tcs import TcsFlags
from softsgx.enclu import LEAVES, execute
from softsgx.machine.aex import asynchronous_exit
from softsgx.machine.model import Model
from softsgx.machine.processor import RFLAGS_TF
from softsgx.machine.trace import Event, LeafExecuted
from tests.enclu.world import AEP, DATA, TCS, World, inside_world, new_world

ENTRIES = {Enclu.EENTER, Enclu.ERESUME}
SMALL = Model(epc_bytes=64 * PAGE_SIZE)


def test_every_leaf_has_a_function() -> None:
    assert set(LEAVES) == set(Enclu)


@pytest.mark.parametrize("leaf", sorted(set(Enclu) - ENTRIES))
def test_a_leaf_of_the_enclave_faults_outside(leaf: Enclu) -> None:
    with pytest.raises(GeneralProtection, match=leaf.name):
        new_world().call(leaf, DATA, DATA)


@pytest.mark.parametrize("leaf", sorted(ENTRIES))
def test_an_entry_faults_inside(leaf: Enclu) -> None:
    world = inside_world()
    with pytest.raises(GeneralProtection, match=leaf.name):
        world.call(leaf, TCS, AEP)


@pytest.mark.parametrize("leaf", [8, 10, 0xFF, 0xFFFF_FFFF])
@pytest.mark.parametrize("world", [new_world, inside_world])
def test_an_unknown_leaf_faults(leaf: int, world: type[World]) -> None:
    made = world()  # type: ignore[call-arg]
    with pytest.raises(GeneralProtection, match="no such leaf"):
        execute(made.machine, made.lp, leaf)


def test_only_the_low_32_bits_name_the_leaf() -> None:
    world = inside_world()
    world.lp.regs.rbx = 0x1234
    execute(world.machine, world.lp, 1 << 32 | Enclu.EEXIT)
    assert world.lp.regs.rip == 0x1234


@pytest.mark.parametrize("leaf", [Enclu.EACCEPT, Enclu.EMODPE, Enclu.EACCEPTCOPY])
def test_a_leaf_of_sgx2_faults_on_a_model_without_it(leaf: Enclu) -> None:
    world = new_world(model=replace(SMALL, sgx2=False))
    world.eenter()
    with pytest.raises(GeneralProtection, match="no such leaf"):
        world.call(leaf, DATA, DATA)


def test_edeccssa_faults_on_a_model_without_it() -> None:
    world = new_world(model=replace(SMALL, edeccssa=False))
    world.eenter()
    with pytest.raises(GeneralProtection, match="no such leaf"):
        world.call(Enclu.EDECCSSA)


def test_enclu_is_undefined_on_a_model_without_sgx() -> None:
    world = new_world(model=replace(SMALL, sgx1=False))
    with pytest.raises(InvalidOpcode):
        world.eenter()


def test_enclu_is_undefined_in_ring_0() -> None:
    world = new_world()
    world.lp.cpl = 0
    with pytest.raises(InvalidOpcode):
        world.eenter()


@pytest.mark.parametrize("value", [0, FeatureControl.LOCK, FeatureControl.SGX_ENABLE])
def test_enclu_faults_while_feature_control_does_not_enable_sgx(value: int) -> None:
    world = new_world()
    world.machine.package.feature_control = FeatureControl(value)
    with pytest.raises(GeneralProtection, match="FEATURE_CONTROL"):
        world.eenter()


def test_a_fault_leaves_rip_at_the_instruction() -> None:
    world = inside_world()
    rip = world.lp.regs.rip
    with pytest.raises(GeneralProtection):
        world.call(Enclu.EMODPE, 1, 1)
    assert world.lp.regs.rip == rip


# trace


def traced(world: World) -> list[Event]:
    events: list[Event] = []
    world.machine.trace = events.append
    return events


def test_a_leaf_that_ends_well_is_told() -> None:
    world = new_world()
    events = traced(world)
    world.eenter()
    assert events == [LeafExecuted(1, Enclu.EENTER, TCS, AEP, 0)]


def test_a_leaf_that_fails_is_told_with_its_code() -> None:
    world = inside_world()
    events = traced(world)
    world.call(Enclu.EACCEPT, world.put_secinfo(0x20B), DATA)
    mismatch = SgxError.PAGE_ATTRIBUTES_MISMATCH
    assert events == [LeafExecuted(1, Enclu.EACCEPT, DATA, DATA, 0, error=mismatch)]


def test_a_leaf_that_faults_is_told_with_its_fault() -> None:
    world = new_world()
    events = traced(world)
    with pytest.raises(PageFault) as caught:
        world.eenter(DATA)
    assert events == [LeafExecuted(1, Enclu.EENTER, DATA, AEP, 0, fault=caught.value)]


# single steps


def step(world: World, leaf: Enclu, rbx: int = 0, rcx: int = 0) -> bool:
    world.lp.regs.rflags |= RFLAGS_TF
    world.call(leaf, rbx, rcx)
    return world.lp.debug_pending


def test_an_opt_out_enclave_is_one_instruction_to_who_steps_over_it() -> None:
    world = new_world()
    assert not step(world, Enclu.EENTER, TCS, AEP)
    asynchronous_exit(world.machine, world.lp, 32)
    assert not step(world, Enclu.ERESUME, TCS, AEP)
    world.eexit()
    assert world.lp.debug_pending


def test_a_step_follows_eenter_and_eexit_of_an_opt_in_enclave() -> None:
    world = new_world()
    world.change_tcs(flags=TcsFlags.DBGOPTIN)
    assert step(world, Enclu.EENTER, TCS, AEP)
    assert step(world, Enclu.EEXIT, 0x1234)


def test_no_step_follows_eresume_of_an_opt_in_enclave() -> None:
    world = new_world()
    world.change_tcs(flags=TcsFlags.DBGOPTIN)
    world.eenter()
    asynchronous_exit(world.machine, world.lp, 1)
    assert not step(world, Enclu.ERESUME, TCS, AEP)


def test_a_step_follows_a_notification_of_an_opt_in_enclave() -> None:
    world = new_world()
    world.change_tcs(flags=TcsFlags.DBGOPTIN | TcsFlags.AEXNOTIFY)
    world.eenter()
    asynchronous_exit(world.machine, world.lp, 1)
    at = world.gprsgx_at()
    world.put(at, bytes(replace(world.gprsgx(), aexnotify=1)))
    assert step(world, Enclu.ERESUME, TCS, AEP)


def test_a_step_follows_a_leaf_inside_and_none_follows_its_fault() -> None:
    world = new_world()
    world.change_tcs(flags=TcsFlags.DBGOPTIN)
    world.eenter()
    with pytest.raises(GeneralProtection):
        step(world, Enclu.EDECCSSA)
    assert not world.lp.debug_pending
    world.change_tcs(cssa=1)
    assert step(world, Enclu.EDECCSSA)
