from collections.abc import Callable

import pytest

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.faults import Fault, GeneralProtection, PageFault
from softsgx.arch.secinfo import PageType
from softsgx.arch.secs import AttributeFlags
from softsgx.arch.tcs import TcsFlags
from softsgx.machine.model import Model
from softsgx.machine.processor import RFLAGS_CF, RFLAGS_FIXED, RFLAGS_TF
from tests.enclu.world import (
    ABSENT,
    AEP,
    BASE,
    DATA,
    ENCLU_RIP,
    ENTRY_OFFSET,
    EPCM_WRITE,
    FLAGS,
    NOT_REGULAR_AND_USABLE,
    OFSBASGX,
    OGSBASGX,
    SECS_PAGE,
    SIZE,
    SSA,
    TCS,
    TCS2,
    World,
    inside_world,
    new_world,
)

NON_CANONICAL = 1 << 47


def raises_gp(world: World, rule: str) -> None:
    with pytest.raises(GeneralProtection, match=rule):
        world.eenter()


def raises_pf(world: World, address: int, error_code: int = EPCM_WRITE) -> None:
    with pytest.raises(PageFault) as caught:
        world.eenter()
    assert (caught.value.address, caught.value.error_code) == (address, error_code)


def test_eenter_continues_at_base_plus_oentry() -> None:
    world = inside_world()
    assert world.lp.regs.rip == BASE + ENTRY_OFFSET


def test_eenter_returns_cssa_in_rax() -> None:
    world = new_world()
    world.change_tcs(cssa=1)
    world.eenter()
    assert world.lp.regs.rax == 1


def test_eenter_returns_the_next_instructions_address_in_rcx() -> None:
    assert inside_world().lp.regs.rcx == ENCLU_RIP + 3


def test_eenter_leaves_the_other_registers() -> None:
    world = new_world()
    regs = world.lp.regs
    regs.rdx, regs.rsi, regs.rdi, regs.r8, regs.r15 = 1, 2, 3, 8, 15
    regs.rsp, regs.rbp, regs.rflags = 0x7000, 0x7100, RFLAGS_FIXED | RFLAGS_CF
    world.eenter()
    assert (regs.rdx, regs.rsi, regs.rdi, regs.r8, regs.r15) == (0, 2, 3, 8, 15)
    assert (regs.rsp, regs.rbp) == (0x7000, 0x7100)
    assert regs.rflags == RFLAGS_FIXED | RFLAGS_CF
    assert regs.rbx == TCS


def test_eenter_sets_fs_and_gs_to_the_tcs_bases() -> None:
    regs = inside_world().lp.regs
    assert (regs.fsbase, regs.gsbase) == (BASE + OFSBASGX, BASE + OGSBASGX)


def test_eenter_saves_the_outside_stack_in_the_frame_of_cssa() -> None:
    world = new_world()
    world.change_tcs(cssa=1)
    world.lp.regs.rsp, world.lp.regs.rbp = 0x7000, 0x7100
    world.eenter()
    assert (world.gprsgx(1).ursp, world.gprsgx(1).urbp) == (0x7000, 0x7100)
    assert (world.gprsgx(0).ursp, world.gprsgx(0).urbp) == (0, 0)


def test_eenter_keeps_the_aep_in_the_tcs_and_marks_it_active() -> None:
    tcs = inside_world().tcs()
    assert (tcs.aep, tcs.stage, tcs.cssa) == (AEP, 1, 0)


def test_eenter_makes_the_enclave_the_active_one() -> None:
    world = inside_world()
    assert world.lp.enclave_mode
    assert world.lp.cr_active_secs == SECS_PAGE
    assert world.lp.cr_elrange == (BASE, SIZE)
    assert world.enclave.inside == {world.lp.id: 0}


def test_eenter_replaces_xcr0_by_xfrm() -> None:
    world = inside_world(xfrm=3)
    assert (world.lp.xcr0, world.lp.cr_save_xcr0) == (3, 7)


def test_eenter_clears_tf_on_opt_out_entry() -> None:
    world = new_world()
    world.lp.regs.rflags |= RFLAGS_TF
    world.eenter()
    assert not world.lp.regs.rflags & RFLAGS_TF


def test_eenter_keeps_tf_on_opt_in_entry() -> None:
    world = new_world()
    world.change_tcs(flags=TcsFlags.DBGOPTIN)
    world.lp.regs.rflags |= RFLAGS_TF
    world.eenter()
    assert world.lp.regs.rflags & RFLAGS_TF


def test_eenter_faults_when_rbx_is_not_page_aligned() -> None:
    world = new_world()
    with pytest.raises(GeneralProtection, match="RBX"):
        world.eenter(TCS + 64)


def test_eenter_faults_when_rbx_is_not_in_the_epc() -> None:
    world = new_world()
    with pytest.raises(PageFault) as caught:
        world.eenter(0x10_0000)
    assert caught.value.address == 0x10_0000


def test_eenter_faults_as_the_page_tables_say_when_the_tcs_is_not_present() -> None:
    world = new_world()
    world.memory.absent.add(TCS)
    raises_pf(world, TCS, 6)


def test_eenter_faults_when_the_tcs_is_write_protected() -> None:
    world = new_world()
    world.memory.write_protected.add(TCS)
    raises_pf(world, TCS, 7)


@pytest.mark.parametrize("aep", [NON_CANONICAL, (1 << 63), 0xFFFF_7FFF_FFFF_FFFF])
def test_eenter_faults_when_the_aep_is_not_canonical(aep: int) -> None:
    world = new_world()
    with pytest.raises(GeneralProtection, match="AEP"):
        world.eenter(TCS, aep)


@pytest.mark.parametrize("aep", [NON_CANONICAL - 1, 0xFFFF_8000_0000_0000])
def test_eenter_takes_every_canonical_aep(aep: int) -> None:
    world = new_world()
    world.eenter(TCS, aep)
    assert world.tcs().aep == aep


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"valid": False}, id="not_valid"),
        pytest.param({"blocked": True}, id="blocked"),
        pytest.param({"pt": PageType.REG}, id="not_a_tcs"),
        pytest.param({"pending": True}, id="pending"),
        pytest.param({"modified": True}, id="modified"),
        pytest.param({"enclaveaddress": TCS2}, id="at_another_address"),
    ],
)
def test_eenter_faults_when_the_tcs_page_is(change: dict[str, int]) -> None:
    world = new_world()
    world.change_epcm(TCS, **change)
    raises_pf(world, TCS)


def test_eenter_faults_when_rbx_is_a_regular_page() -> None:
    world = new_world()
    with pytest.raises(PageFault):
        world.eenter(DATA)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"ossa": SSA - BASE + 8}, "OSSA"),
        ({"ofsbasgx": OFSBASGX + 8}, "OFSBASGX"),
        ({"ogsbasgx": OGSBASGX + 8}, "OGSBASGX"),
        ({"flags": 4}, "reserved bits of TCS.FLAGS"),
        ({"flags": 1 << 63}, "reserved bits of TCS.FLAGS"),
        ({"flags": TcsFlags.AEXNOTIFY}, "AEXNOTIFY"),
        ({"cssa": 2}, "CSSA is not below NSSA"),
        ({"cssa": 3}, "CSSA is not below NSSA"),
        ({"nssa": 0}, "CSSA is not below NSSA"),
        ({"oentry": NON_CANONICAL - BASE}, "target"),
        ({"ofsbasgx": NON_CANONICAL - BASE}, "FS or GS"),
        ({"ogsbasgx": NON_CANONICAL - BASE}, "FS or GS"),
        ({"stage": 1}, "active"),
    ],
)
def test_eenter_faults_when_the_tcs_has(change: dict[str, int], rule: str) -> None:
    world = new_world()
    world.change_tcs(**change)
    raises_gp(world, rule)


def test_eenter_reserves_aexnotify_on_a_model_without_it() -> None:
    world = new_world(model=Model(epc_bytes=64 * PAGE_SIZE, aexnotify=False))
    world.change_tcs(flags=TcsFlags.AEXNOTIFY | TcsFlags.DBGOPTIN)
    raises_gp(world, "reserved bits of TCS.FLAGS")


def test_eenter_faults_when_the_tcs_is_busy_with_another_processor() -> None:
    world = inside_world()
    world.lp.enclave_mode = False
    raises_gp(world, "active")


def test_eenter_faults_when_the_enclave_is_not_initialized() -> None:
    world = new_world()
    world.change_attributes(AttributeFlags.MODE64BIT)
    raises_gp(world, "not initialized")


def test_eenter_faults_when_the_enclave_is_not_a_64_bit_one() -> None:
    world = new_world()
    world.change_attributes(AttributeFlags.INIT)
    raises_gp(world, "64-bit")


def test_eenter_faults_without_osfxsr() -> None:
    world = new_world()
    world.lp.cr4_osfxsr = False
    raises_gp(world, "OSFXSR")


def test_eenter_without_osxsave_takes_xfrm_3_only() -> None:
    world = new_world(xfrm=7)
    world.lp.cr4_osxsave = False
    raises_gp(world, "OSXSAVE")
    world.change_attributes(int(FLAGS), 3)
    world.lp.xcr0 = 1
    world.eenter()


def test_eenter_faults_when_xfrm_is_no_subset_of_xcr0() -> None:
    world = new_world(xfrm=7)
    world.lp.xcr0 = 3
    raises_gp(world, "XCR0")


def test_eenter_wants_aexnotify_in_the_tcs_if_the_enclave_has_it() -> None:
    world = new_world()
    world.change_attributes(int(FLAGS | AttributeFlags.AEXNOTIFY))
    raises_gp(world, "AEXNOTIFY")
    world.change_tcs(flags=TcsFlags.AEXNOTIFY)
    world.eenter()


def test_eenter_lets_a_debugged_thread_differ_in_aexnotify() -> None:
    world = new_world()
    world.change_tcs(flags=TcsFlags.AEXNOTIFY | TcsFlags.DBGOPTIN)
    world.eenter()


FRAME_PAGE_RULES = NOT_REGULAR_AND_USABLE | {
    "not_readable": {"r": False},
    "not_writable": {"w": False},
}


@pytest.mark.parametrize("rule", FRAME_PAGE_RULES)
@pytest.mark.parametrize("page", [0, 1, 2, 3])
def test_eenter_faults_when_an_ssa_page_is(rule: str, page: int) -> None:
    # XFRM 0xe7 needs 2688 bytes: page 0 holds XSAVE, page 3 GPRSGX, the rest is free.
    world = new_world(ssaframesize=4, xfrm=0xE7)
    address = SSA + page * 0x1000
    world.change_epcm(address, **FRAME_PAGE_RULES[rule])
    if page in (0, 3):
        raises_pf(world, address)
    else:
        world.eenter()


@pytest.mark.parametrize("tables", ["absent", "write_protected"])
@pytest.mark.parametrize("page", [0, 3])
def test_eenter_faults_when_the_page_tables_refuse_the_frame(
    tables: str, page: int
) -> None:
    world = new_world(ssaframesize=4)
    refused = SSA + page * 0x1000
    getattr(world.memory, tables).add(refused)
    raises_pf(world, refused, 6 if tables == "absent" else 7)


def test_eenter_looks_at_every_page_of_a_long_xsave_area() -> None:
    # AMX ends at 11008 bytes: three pages.
    world = new_world(ssaframesize=4, xfrm=3)
    world.lp.xcr0 = 0x60007
    world.change_attributes(int(FLAGS), 0x60007)
    world.change_epcm(SSA + 0x2000, w=False)
    raises_pf(world, SSA + 0x2000)


def test_eenter_looks_at_the_frame_of_cssa() -> None:
    world = new_world()
    world.change_tcs(cssa=1)
    world.change_epcm(SSA, blocked=True)
    world.eenter()


def test_eenter_faults_when_the_frame_lies_outside_the_enclave() -> None:
    world = new_world()
    world.change_tcs(ossa=ABSENT - BASE)
    raises_pf(world, ABSENT)


ORDER: list[tuple[str, Callable[[World], object], type[Fault]]] = [
    (
        "the TCS page",
        lambda w: w.change_epcm(TCS, blocked=True),
        PageFault,
    ),
    ("OSSA", lambda w: w.change_tcs(ossa=8), GeneralProtection),
    ("SSA page", lambda w: w.change_epcm(SSA, blocked=True), PageFault),
    ("STAGE", lambda w: w.change_tcs(stage=1), GeneralProtection),
]


@pytest.mark.parametrize("first", range(len(ORDER) - 1))
def test_eenter_checks_in_the_manuals_order(first: int) -> None:
    world = new_world()
    for _, change, _ in ORDER[first:]:
        change(world)
    with pytest.raises(ORDER[first][2]):
        world.eenter()
