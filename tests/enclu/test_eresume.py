from dataclasses import replace

import pytest

from softsgx.arch.faults import GeneralProtection, PageFault
from softsgx.arch.leaves import Enclu
from softsgx.arch.secinfo import PageType
from softsgx.arch.secs import AttributeFlags
from softsgx.arch.ssa import Gprsgx
from softsgx.arch.tcs import TcsFlags
from softsgx.machine.aex import asynchronous_exit
from softsgx.machine.fields import Field
from softsgx.machine.processor import (
    RFLAGS_AC,
    RFLAGS_CF,
    RFLAGS_DF,
    RFLAGS_FIXED,
    RFLAGS_ID,
    RFLAGS_IF,
    RFLAGS_IOPL,
    RFLAGS_NT,
    RFLAGS_RF,
    RFLAGS_TF,
    RFLAGS_VM,
    RFLAGS_ZF,
)
from tests.enclu.world import (
    AEP,
    BASE,
    ENCLU_RIP,
    ENTRY_OFFSET,
    EPCM_WRITE,
    FLAGS,
    NOT_REGULAR_AND_USABLE,
    OFSBASGX,
    OGSBASGX,
    SSA,
    TCS,
    TCS2,
    World,
    inside_world,
    new_world,
)

NON_CANONICAL = 1 << 47


def interrupted_world(
    *, ssaframesize: int = 1, nssa: int = 2, xfrm: int = 3, flags: int = 0
) -> World:
    world = new_world(ssaframesize=ssaframesize, nssa=nssa, xfrm=xfrm)
    world.change_tcs(flags=flags)
    world.eenter()
    asynchronous_exit(world.machine, world.lp, 32)
    return world


def notifying_world(*, nssa: int = 2) -> World:
    """A thread that was interrupted and asked to hear of it."""
    world = new_world(nssa=nssa)
    world.change_attributes(int(FLAGS | AttributeFlags.AEXNOTIFY))
    world.change_tcs(flags=TcsFlags.AEXNOTIFY)
    world.eenter()
    change_saved(world, aexnotify=1)
    asynchronous_exit(world.machine, world.lp, 32)
    return world


def change_saved(world: World, **changes: int) -> None:
    for name, value in changes.items():
        field = Field.of(Gprsgx, name)
        where = world.gprsgx_at() + field.offset
        world.put(where, value.to_bytes(field.size, "little"))


def raises_gp(world: World, rule: str) -> None:
    with pytest.raises(GeneralProtection, match=rule):
        world.eresume()


def test_eresume_pops_the_frame_and_takes_the_tcs() -> None:
    world = interrupted_world()
    assert (world.tcs().cssa, world.tcs().stage) == (1, 0)
    world.eresume()
    assert (world.tcs().cssa, world.tcs().stage) == (0, 1)
    assert world.lp.enclave_mode
    assert world.enclave.inside == {world.lp.id: 0}


def test_eresume_restores_all_general_registers() -> None:
    world = inside_world()
    names = [n for n in vars(world.lp.regs) if n not in {"rip", "rflags"}]
    for value, name in enumerate(names, start=0x1000):
        setattr(world.lp.regs, name, value)
    world.lp.regs.rip = BASE + ENTRY_OFFSET + 20
    before = replace(world.lp.regs)
    asynchronous_exit(world.machine, world.lp, 32)
    assert world.lp.regs != before
    world.eresume()
    assert world.lp.regs == before


def test_eresume_restores_the_extended_state() -> None:
    world = inside_world(xfrm=7)
    world.lp.xsave[512] = 7
    for part in (slice(32, 160), slice(160, 416), slice(576, 832)):
        world.lp.xsave[part] = b"\x5a" * (part.stop - part.start)
    before = bytes(world.lp.xsave)
    asynchronous_exit(world.machine, world.lp, 32)
    assert world.lp.xsave != before
    world.eresume()
    assert world.lp.xsave == before


def test_eresume_takes_a_new_aep() -> None:
    world = interrupted_world()
    world.eresume(TCS, AEP + 64)
    asynchronous_exit(world.machine, world.lp, 32)
    assert world.lp.regs.rip == AEP + 64


def test_the_next_exit_goes_back_to_the_stack_of_the_entry() -> None:
    # The manual saves URSP and URBP in EENTER, and in ERESUME only for a notification.
    world = new_world()
    world.lp.regs.rsp, world.lp.regs.rbp = 0x7000, 0x7100
    world.eenter()
    asynchronous_exit(world.machine, world.lp, 32)
    world.lp.regs.rsp, world.lp.regs.rbp = 0x9000, 0x9100
    world.eresume()
    asynchronous_exit(world.machine, world.lp, 32)
    assert (world.lp.regs.rsp, world.lp.regs.rbp) == (0x7000, 0x7100)


def test_eresume_keeps_the_outside_fs_gs_and_xcr0_for_the_exit() -> None:
    world = interrupted_world()
    world.lp.regs.fsbase, world.lp.regs.gsbase = 0x1000, 0x2000
    world.eresume()
    assert world.lp.xcr0 == 3
    asynchronous_exit(world.machine, world.lp, 32)
    assert (world.lp.regs.fsbase, world.lp.regs.gsbase) == (0x1000, 0x2000)
    assert world.lp.xcr0 == 7


RESTORED = RFLAGS_CF | RFLAGS_DF | RFLAGS_NT | RFLAGS_AC | RFLAGS_ID | RFLAGS_RF


def test_eresume_restores_the_users_rflags_only() -> None:
    world = interrupted_world()
    everything = (1 << 22) - 1
    change_saved(world, rflags=everything)
    world.lp.regs.rflags = RFLAGS_FIXED
    world.eresume()
    gained = world.lp.regs.rflags & ~RFLAGS_FIXED
    assert gained & RESTORED == RESTORED
    assert not gained & (RFLAGS_IF | RFLAGS_IOPL | RFLAGS_TF | RFLAGS_VM | 1 << 19)


def test_eresume_clears_rflags_that_were_clear_inside() -> None:
    world = interrupted_world()
    change_saved(world, rflags=RFLAGS_FIXED)
    world.lp.regs.rflags = RFLAGS_FIXED | RFLAGS_CF | RFLAGS_ZF | RFLAGS_DF | RFLAGS_VM
    world.eresume()
    assert world.lp.regs.rflags == RFLAGS_FIXED


@pytest.mark.parametrize("iopl", [0, RFLAGS_IOPL])
def test_eresume_restores_if_with_iopl_3_only(iopl: int) -> None:
    world = interrupted_world()
    change_saved(world, rflags=RFLAGS_FIXED | RFLAGS_IF)
    world.lp.regs.rflags = RFLAGS_FIXED | iopl
    world.eresume()
    assert bool(world.lp.regs.rflags & RFLAGS_IF) == bool(iopl)


def test_eresume_clears_tf_on_opt_out_and_gives_it_back() -> None:
    world = interrupted_world()
    world.lp.regs.rflags |= RFLAGS_TF
    world.eresume()
    assert not world.lp.regs.rflags & RFLAGS_TF
    asynchronous_exit(world.machine, world.lp, 32)
    assert world.lp.regs.rflags & RFLAGS_TF


def test_eresume_keeps_tf_on_opt_in() -> None:
    world = interrupted_world(flags=TcsFlags.DBGOPTIN)
    world.lp.regs.rflags |= RFLAGS_TF
    world.eresume()
    assert world.lp.regs.rflags & RFLAGS_TF


def test_eresume_faults_when_cssa_is_0() -> None:
    raises_gp(new_world(), "CSSA is 0")


def test_eresume_needs_no_free_frame() -> None:
    world = interrupted_world(nssa=1)
    with pytest.raises(GeneralProtection, match="CSSA is not below NSSA"):
        world.eenter()
    world.eresume()


def test_eresume_faults_when_rbx_is_not_page_aligned() -> None:
    world = interrupted_world()
    with pytest.raises(GeneralProtection, match="RBX"):
        world.eresume(TCS + 8)


def test_eresume_faults_when_the_aep_is_not_canonical() -> None:
    world = interrupted_world()
    with pytest.raises(GeneralProtection, match="AEP"):
        world.eresume(TCS, NON_CANONICAL)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"valid": False}, id="not_valid"),
        pytest.param({"blocked": True}, id="blocked"),
        pytest.param({"pending": True}, id="pending"),
        pytest.param({"modified": True}, id="modified"),
        pytest.param({"pt": PageType.REG}, id="not_a_tcs"),
        pytest.param({"enclaveaddress": TCS2}, id="at_another_address"),
    ],
)
def test_eresume_faults_when_the_tcs_page_is(change: dict[str, int]) -> None:
    world = interrupted_world()
    world.change_epcm(TCS, **change)
    with pytest.raises(PageFault) as caught:
        world.eresume()
    assert caught.value.address == TCS


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"ossa": 8}, "OSSA"),
        ({"ofsbasgx": 8}, "OFSBASGX"),
        ({"flags": 4}, "reserved"),
        ({"flags": TcsFlags.AEXNOTIFY}, "AEXNOTIFY"),
        ({"stage": 1}, "active"),
    ],
)
def test_eresume_faults_when_the_tcs_has(change: dict[str, int], rule: str) -> None:
    world = interrupted_world()
    world.change_tcs(**change)
    raises_gp(world, rule)


@pytest.mark.parametrize(
    "change",
    [*NOT_REGULAR_AND_USABLE.values(), {"r": False}, {"w": False}],
    ids=[*NOT_REGULAR_AND_USABLE, "not_readable", "not_writable"],
)
def test_eresume_faults_when_the_frames_page_is(change: dict[str, int]) -> None:
    world = interrupted_world()
    world.change_epcm(SSA, **change)
    with pytest.raises(PageFault) as caught:
        world.eresume()
    assert (caught.value.address, caught.value.error_code) == (SSA, EPCM_WRITE)


@pytest.mark.parametrize(
    ("name", "rule"),
    [("rip", "target"), ("fsbase", "FS or GS"), ("gsbase", "FS or GS")],
)
def test_eresume_faults_when_saved_is_not_canonical(name: str, rule: str) -> None:
    world = interrupted_world()
    change_saved(world, **{name: NON_CANONICAL})
    raises_gp(world, rule)


@pytest.mark.parametrize("offset", [520, 527, 528, 535])
def test_eresume_faults_when_the_xsave_header_is_not_zero(offset: int) -> None:
    world = interrupted_world()
    world.put(SSA + offset, b"\1")
    raises_gp(world, "XSAVE header")


@pytest.mark.parametrize("offset", [519, 536, 575])
def test_eresume_ignores_the_rest_of_the_xsave_header(offset: int) -> None:
    world = interrupted_world()
    if offset == 519:
        world.put(SSA + 512, b"\3")
    else:
        world.put(SSA + offset, b"\1")
    world.eresume()


def test_eresume_faults_when_xstate_bv_is_no_subset_of_xfrm() -> None:
    world = interrupted_world()
    world.put(SSA + 512, b"\4")
    raises_gp(world, "XSTATE_BV")


def test_eresume_faults_when_mxcsr_has_reserved_bits() -> None:
    world = interrupted_world()
    world.put(SSA + 24, (0x1_0000).to_bytes(4, "little"))
    raises_gp(world, "MXCSR")


def test_eresume_faults_inside_the_enclave() -> None:
    world = interrupted_world()
    world.eresume()
    raises_gp(world, "side")


# AEX notification


def test_a_notified_eresume_enters_at_oentry_in_the_next_frame() -> None:
    world = notifying_world()
    saved = world.gprsgx(0)
    world.lp.regs.rsp, world.lp.regs.rbp = 0x9000, 0x9100
    world.eresume()
    regs = world.lp.regs
    assert regs.rip == BASE + ENTRY_OFFSET
    assert (regs.rax, regs.rcx) == (1, ENCLU_RIP + 3)
    assert (regs.fsbase, regs.gsbase) == (BASE + OFSBASGX, BASE + OGSBASGX)
    assert (world.tcs().cssa, world.tcs().stage) == (1, 1)
    assert (world.gprsgx(1).ursp, world.gprsgx(1).urbp) == (0x9000, 0x9100)
    assert world.gprsgx(0) == saved


def test_a_notified_thread_exits_into_the_next_frame() -> None:
    world = notifying_world()
    world.eresume()
    world.lp.regs.r12 = 0x1212
    asynchronous_exit(world.machine, world.lp, 32)
    assert world.gprsgx(1).r12 == 0x1212
    assert world.tcs().cssa == 2


def test_a_notified_thread_resumes_itself_by_edeccssa() -> None:
    world = notifying_world()
    world.eresume()
    world.call(Enclu.EDECCSSA)
    assert world.tcs().cssa == 0


@pytest.mark.parametrize("aexnotify", [0, 2])
def test_eresume_notifies_only_if_the_frame_asks(aexnotify: int) -> None:
    world = notifying_world()
    change_saved(world, aexnotify=aexnotify)
    world.eresume()
    assert world.tcs().cssa == 0


def test_eresume_notifies_only_if_the_tcs_allows() -> None:
    world = interrupted_world()
    change_saved(world, aexnotify=1)
    world.eresume()
    assert world.tcs().cssa == 0


def test_a_notified_eresume_faults_when_no_frame_is_free() -> None:
    raises_gp(notifying_world(nssa=1), "notify")


def test_a_notified_eresume_faults_when_the_next_frame_is_blocked() -> None:
    world = notifying_world()
    world.change_epcm(SSA + 0x1000, blocked=True)
    with pytest.raises(PageFault) as caught:
        world.eresume()
    assert caught.value.address == SSA + 0x1000


@pytest.mark.parametrize(
    ("change", "rule"),
    [({"oentry": NON_CANONICAL - BASE}, "target"), ({"stage": 1}, "active")],
)
def test_a_notified_eresume_faults_when_the_tcs_has(
    change: dict[str, int], rule: str
) -> None:
    world = notifying_world()
    world.change_tcs(**change)
    raises_gp(world, rule)
