import pytest

from softsgx.arch.secs import Miscselect
from softsgx.arch.ssa import Exinfo, Exitinfo, ExitType
from softsgx.arch.tcs import TcsFlags
from softsgx.machine.aex import asynchronous_exit
from softsgx.machine.processor import (
    RFLAGS_AC,
    RFLAGS_ARITHMETIC,
    RFLAGS_DF,
    RFLAGS_FIXED,
    RFLAGS_ID,
    RFLAGS_IF,
    RFLAGS_RF,
    RFLAGS_TF,
    Regs,
)
from softsgx.machine.trace import AsynchronousExit, Event
from tests.enclu.world import (
    AEP,
    BASE,
    DATA,
    SECS_PAGE,
    TCS,
    World,
    inside_world,
    new_world,
)

DE, DB, NMI, BP, OF, BR, UD, NM = range(8)
SS, GP, PF, MF, AC, MC, XM = 12, 13, 14, 16, 17, 18, 19
INTERRUPT = 32
REPORTED = [DE, DB, BP, BR, UD, MF, AC, XM]
SILENT = [NMI, OF, NM, 8, 10, 11, SS, MC, 20, INTERRUPT, 255]


def exit_(world: World, vector: int, error_code: int = 0, address: int = 0) -> int:
    return asynchronous_exit(world.machine, world.lp, vector, error_code, address)


def exinfo_world() -> World:
    world = inside_world()
    world.change_secs(miscselect=Miscselect.EXINFO)
    return world


def exinfo(world: World, frame: int = 0) -> Exinfo:
    at = world.gprsgx_at(frame) - Exinfo.SIZE
    return Exinfo.from_bytes(world.bytes_at(at, Exinfo.SIZE))


def filled_regs() -> Regs:
    values = {name: 0x1000 + n for n, name in enumerate(vars(Regs()))}
    return Regs(**values | {"rip": BASE + 0xA100, "rflags": RFLAGS_FIXED})


# what is saved


def test_aex_saves_all_general_registers() -> None:
    world = inside_world()
    world.lp.regs = filled_regs()
    exit_(world, INTERRUPT)
    saved = world.gprsgx()
    for name, value in vars(filled_regs()).items():
        assert getattr(saved, name) == value, name


def test_aex_saves_into_the_last_184_bytes_of_the_frame_of_cssa() -> None:
    world = new_world(ssaframesize=2)
    world.change_tcs(cssa=1)
    world.eenter()
    world.lp.regs.rax = 0xAAAA
    exit_(world, INTERRUPT)
    assert world.gprsgx(1).rax == 0xAAAA
    assert world.gprsgx(0).rax == 0


def test_aex_saves_rflags_with_tf_clear_and_rf_as_it_was() -> None:
    world = new_world()
    world.change_tcs(flags=TcsFlags.DBGOPTIN)
    world.eenter()
    world.lp.regs.rflags = RFLAGS_FIXED | RFLAGS_TF | RFLAGS_RF | RFLAGS_AC
    exit_(world, DB)
    assert world.gprsgx().rflags == RFLAGS_FIXED | RFLAGS_RF | RFLAGS_AC


def test_aex_leaves_aexnotify_and_reserved_bytes_of_gprsgx() -> None:
    world = inside_world()
    world.put(world.gprsgx_at() + 164, b"\1\2\3\xfd")
    exit_(world, INTERRUPT)
    assert world.bytes_at(world.gprsgx_at() + 164, 4) == b"\1\2\3\xfd"


def test_aex_saves_extended_state_at_the_frames_start() -> None:
    world = inside_world()
    world.lp.xsave[160:176] = b"\x5a" * 16
    world.lp.xsave[512] = 3
    exit_(world, INTERRUPT)
    assert world.bytes_at(world.frame_at(0) + 160, 16) == b"\x5a" * 16
    assert world.bytes_at(world.frame_at(0) + 512, 8) == b"\3" + bytes(7)


def test_aex_saves_a_long_xsave_area_over_its_pages() -> None:
    world = new_world(ssaframesize=4, xfrm=0x60007)
    world.lp.xcr0 = 0x60007
    world.eenter()
    world.lp.xsave[512:520] = (0x60007).to_bytes(8, "little")
    world.lp.xsave[2816:11008] = bytes(range(256)) * 32
    exit_(world, INTERRUPT)
    saved = b"".join(world.bytes_at(world.frame_at(0) + 4096 * n, 4096) for n in (0, 1))
    assert saved[2816:] == (bytes(range(256)) * 21)
    assert world.bytes_at(world.frame_at(0) + 8192 + 2560, 256) == bytes(range(256))


def test_aex_touches_nothing_between_the_xsave_area_and_exinfo() -> None:
    world = inside_world()
    world.put(world.frame_at(0) + 576, b"\xaa" * 3320)
    exit_(world, INTERRUPT)
    assert world.bytes_at(world.frame_at(0) + 576, 3320) == b"\xaa" * 3320


# EXITINFO


@pytest.mark.parametrize("vector", REPORTED)
def test_aex_reports_the_exceptions_that_the_manual_lists(vector: int) -> None:
    world = inside_world()
    exit_(world, vector)
    kind = ExitType.SOFTWARE if vector == BP else ExitType.HARDWARE
    assert world.gprsgx().exitinfo == Exitinfo.of(vector, kind)


@pytest.mark.parametrize("vector", [*SILENT, GP, PF])
def test_aex_clears_exitinfo_for_all_others(vector: int) -> None:
    world = inside_world()
    world.put(world.gprsgx_at() + 160, b"\xff" * 4)
    exit_(world, vector, 6, DATA)
    assert world.gprsgx().exitinfo == 0


def test_aex_tells_of_a_page_fault_in_exinfo_if_miscselect_says_so() -> None:
    world = exinfo_world()
    exit_(world, PF, 0x8007, DATA + 0x123)
    assert world.gprsgx().exitinfo == Exitinfo.of(PF, ExitType.HARDWARE)
    assert exinfo(world) == Exinfo(maddr=DATA + 0x123, errcd=0x8007)


def test_aex_tells_of_a_general_protection_fault_with_no_address() -> None:
    world = exinfo_world()
    exit_(world, GP, 0x18, DATA + 0x123)
    assert world.gprsgx().exitinfo == Exitinfo.of(GP, ExitType.HARDWARE)
    assert exinfo(world) == Exinfo(maddr=0, errcd=0x18)


@pytest.mark.parametrize("vector", [GP, PF])
def test_aex_clears_the_reserved_bytes_of_exinfo(vector: int) -> None:
    world = exinfo_world()
    at = world.gprsgx_at() - Exinfo.SIZE
    world.put(at, b"\xff" * 16)
    exit_(world, vector, 6, DATA)
    assert world.bytes_at(at + 12, 4) == bytes(4)


@pytest.mark.parametrize("vector", [GP, PF])
def test_aex_leaves_exinfo_alone_without_miscselect(vector: int) -> None:
    world = inside_world()
    at = world.gprsgx_at() - Exinfo.SIZE
    world.put(at, b"\xaa" * 16)
    exit_(world, vector, 6, DATA)
    assert world.bytes_at(at, 16) == b"\xaa" * 16


def test_aex_leaves_exinfo_alone_for_a_supervisors_page_fault() -> None:
    world = exinfo_world()
    exit_(world, PF, 0x2, DATA)
    assert world.gprsgx().exitinfo == 0
    assert exinfo(world) == Exinfo.zero()


@pytest.mark.parametrize("vector", [UD, SS, INTERRUPT])
def test_aex_leaves_exinfo_alone_for_other_events(vector: int) -> None:
    world = exinfo_world()
    world.put(world.gprsgx_at() - Exinfo.SIZE, b"\xaa" * 16)
    exit_(world, vector, 4)
    assert bytes(exinfo(world))[:12] == b"\xaa" * 12


# synthetic state


def test_aex_shows_eresume_tcs_and_aep() -> None:
    world = inside_world()
    world.lp.regs = filled_regs()
    exit_(world, INTERRUPT)
    regs = world.lp.regs
    assert (regs.rax, regs.rbx, regs.rcx, regs.rip) == (3, TCS, AEP, AEP)


def test_aex_zeroes_every_other_general_register() -> None:
    world = inside_world()
    world.lp.regs = filled_regs()
    exit_(world, INTERRUPT)
    names = ["rdx", "rsi", "rdi", *(f"r{n}" for n in range(8, 16))]
    assert {name: getattr(world.lp.regs, name) for name in names} == dict.fromkeys(
        names, 0
    )


def test_aex_restores_the_outside_stack() -> None:
    world = new_world()
    world.lp.regs.rsp, world.lp.regs.rbp = 0x7000, 0x7100
    world.eenter()
    world.lp.regs.rsp, world.lp.regs.rbp = DATA, DATA
    exit_(world, INTERRUPT)
    assert (world.lp.regs.rsp, world.lp.regs.rbp) == (0x7000, 0x7100)


def test_aex_restores_fs_gs_and_xcr0() -> None:
    world = new_world()
    world.lp.regs.fsbase, world.lp.regs.gsbase = 0x1000, 0x2000
    world.eenter()
    world.lp.regs.fsbase, world.lp.regs.gsbase = 1, 2
    exit_(world, INTERRUPT)
    assert (world.lp.regs.fsbase, world.lp.regs.gsbase) == (0x1000, 0x2000)
    assert world.gprsgx().fsbase == 1
    assert world.lp.xcr0 == 7


def test_aex_clears_the_arithmetic_flags_and_rf_only() -> None:
    world = inside_world()
    kept = RFLAGS_FIXED | RFLAGS_DF | RFLAGS_AC | RFLAGS_ID | RFLAGS_IF
    world.lp.regs.rflags = kept | RFLAGS_ARITHMETIC | RFLAGS_RF
    exit_(world, UD)
    assert world.lp.regs.rflags == kept


@pytest.mark.parametrize("was_set", [False, True])
def test_aex_restores_tf_on_opt_out(*, was_set: bool) -> None:
    world = new_world()
    world.lp.regs.rflags |= RFLAGS_TF * was_set
    world.eenter()
    exit_(world, INTERRUPT)
    assert bool(world.lp.regs.rflags & RFLAGS_TF) == was_set


def test_aex_leaves_tf_alone_on_opt_in() -> None:
    world = new_world()
    world.change_tcs(flags=TcsFlags.DBGOPTIN)
    world.eenter()
    world.lp.regs.rflags |= RFLAGS_TF
    exit_(world, DB)
    assert world.lp.regs.rflags & RFLAGS_TF


def test_aex_leaves_enclave_mode_and_frees_the_tcs() -> None:
    world = inside_world()
    exit_(world, INTERRUPT)
    assert not world.lp.enclave_mode
    assert (world.tcs().stage, world.tcs().cssa) == (0, 1)
    assert world.enclave.inside == {}


def test_aex_hides_extended_state() -> None:
    world = inside_world(xfrm=7)
    world.lp.xsave[:] = b"\x5a" * len(world.lp.xsave)
    world.lp.xsave[512:520] = b"\7" + bytes(7)
    exit_(world, INTERRUPT)
    assert world.lp.xsave[512] == 0
    assert world.lp.xsave[0:24] == b"\x7f\3" + bytes(22)
    assert world.lp.xsave[24:28] == b"\x80\x1f\0\0"
    assert not any(world.lp.xsave[32:416])
    assert not any(world.lp.xsave[576:832])


@pytest.mark.parametrize(
    ("vector", "fcw", "fsw", "mxcsr"),
    [
        (MF, 0x37E, 0x8081, 0x1F80),
        (XM, 0x37F, 0, 0x1F01),
        (UD, 0x37F, 0, 0x1F80),
    ],
)
def test_aex_leaves_a_handler_what_fits_the_exception(
    vector: int, fcw: int, fsw: int, mxcsr: int
) -> None:
    world = inside_world()
    exit_(world, vector)
    state = world.lp.xsave
    assert int.from_bytes(state[0:2], "little") == fcw
    assert int.from_bytes(state[2:4], "little") == fsw
    assert int.from_bytes(state[24:28], "little") == mxcsr
    assert state[512] == {MF: 1, XM: 2}.get(vector, 0)


# the address


def test_aex_clears_the_low_12_bits_of_a_page_faults_address() -> None:
    assert exit_(inside_world(), PF, 7, DATA + 0xFFF) == DATA


def test_aex_leaves_other_addresses_alone() -> None:
    assert exit_(inside_world(), GP, 0, 0x123) == 0x123


def test_aex_tells_the_trace_what_the_outside_may_know() -> None:
    world = inside_world()
    events: list[Event] = []
    world.machine.trace = events.append
    exit_(world, PF, 7, DATA + 0x123)
    assert events == [AsynchronousExit(1, SECS_PAGE, PF, 7, DATA)]


def test_aex_into_the_pages_that_entry_checked() -> None:
    # An AEX cannot fault, even if the page tables changed meanwhile.
    world = inside_world()
    world.memory.absent.add(world.frame_at(0))
    world.lp.regs.r12 = 0x1212
    exit_(world, INTERRUPT)
    assert world.gprsgx().r12 == 0x1212


def test_two_exits_nest() -> None:
    world = inside_world()
    world.lp.regs.r12 = 1
    exit_(world, INTERRUPT)
    world.eenter()
    world.lp.regs.r12 = 2
    exit_(world, INTERRUPT)
    assert (world.gprsgx(0).r12, world.gprsgx(1).r12) == (1, 2)
    assert world.tcs().cssa == 2
