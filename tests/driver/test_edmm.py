"""RESTRICT_PERMISSIONS, MODIFY_TYPES and REMOVE_PAGES."""

import errno
from dataclasses import replace

import pytest

from softsgx.arch.errors import SgxError
from softsgx.arch.faults import GeneralProtection
from softsgx.arch.layout import Layout
from softsgx.arch.secinfo import PageType, SecinfoFlags
from softsgx.driver import uapi
from softsgx.driver.encl import Encl
from softsgx.machine.model import Model
from tests.driver.fakes import ARGS, BASE, PAGE, RW, RWX, SIZE, World, refused, swap

RESTRICT = uapi.SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS
MODIFY = uapi.SGX_IOC_ENCLAVE_MODIFY_TYPES
REMOVE = uapi.SGX_IOC_ENCLAVE_REMOVE_PAGES

STRUCTS: dict[int, type[Layout]] = {
    RESTRICT: uapi.sgx_enclave_restrict_permissions,
    MODIFY: uapi.sgx_enclave_modify_types,
    REMOVE: uapi.sgx_enclave_remove_pages,
}
OWN = {RESTRICT: {"permissions": 1}, MODIFY: {"page_type": 4}, REMOVE: {}}
ALL = pytest.mark.parametrize("cmd", [RESTRICT, MODIFY, REMOVE])

EMPTY_REG = 0x240


def call(world: World, cmd: int, index: int, count: int, **fields: int) -> int:
    """Run one of the three; return the pages that `count` reports."""
    ranged = {"offset": index * PAGE, "length": count * PAGE}
    world.put(
        STRUCTS[cmd](**(dict.fromkeys(_names(cmd), 0) | ranged | OWN[cmd] | fields))
    )
    try:
        world.ioctl(cmd)
    finally:
        world.result = out(world, cmd)
    return world.result["count"] // PAGE


def _names(cmd: int) -> list[str]:
    return list(vars(STRUCTS[cmd].zero()))


def out(world: World, cmd: int) -> dict[str, int]:
    raw = bytes(world.args.data[: STRUCTS[cmd].SIZE])
    return dict(vars(STRUCTS[cmd].from_bytes(raw)))


def built(count: int = 8, secinfo: int = SecinfoFlags.of(2, RW)) -> World:
    world = World()
    world.build(count, secinfo)
    return world


def trim(world: World, index: int, count: int) -> None:
    assert call(world, MODIFY, index, count) == count


def test_restrict_takes_rights_away_and_asks_for_acceptance() -> None:
    world = built(4)
    assert call(world, RESTRICT, 1, 4) == 4
    assert [world.epcm(i) for i in range(1, 5)] == [0x240 | 1 | 0x20] * 4
    page = world.encl.page(BASE + PAGE)
    assert page is not None
    assert page.vm_max_prot == RW, "the cap of mappings does not change"


def test_restrict_cannot_give_rights() -> None:
    world = built(2, SecinfoFlags.of(PageType.REG, 1))
    assert call(world, RESTRICT, 1, 2, permissions=RWX) == 2
    assert world.epcm(1) == 0x240 | 1 | 0x20


def test_modify_to_trim_takes_all_rights_at_once() -> None:
    world = built(4)
    trim(world, 1, 4)
    assert [world.epcm(i) for i in range(1, 5)] == [0x450] * 4
    page = world.encl.page(BASE + PAGE)
    assert page is not None
    assert (page.type, page.vm_max_prot) == (PageType.TRIM, RW)


def test_modify_to_tcs_lowers_the_cap() -> None:
    world = built(2, SecinfoFlags.of(PageType.REG, RWX))
    assert call(world, MODIFY, 1, 1, page_type=1) == 1
    page = world.encl.page(BASE + PAGE)
    assert page is not None
    assert (page.type, page.vm_max_prot) == (PageType.TCS, RW)
    assert world.epcm(1) == 0x150


def test_a_tcs_can_be_trimmed() -> None:
    world = built()
    trim(world, 0, 1)
    assert world.epcm(0) == 0x450


def test_remove_takes_accepted_pages() -> None:
    world = built(4)
    free = world.driver.section.free
    trim(world, 1, 4)
    for index in range(1, 5):
        world.accept(index)
    world.memory.bytes[PAGE : 5 * PAGE] = b"x" * 4 * PAGE
    assert call(world, REMOVE, 1, 4) == 4
    assert world.encl.page(BASE + PAGE) is None
    assert world.driver.section.free == free + 4
    assert world.machine.enclaves[world.encl.secs].children == 1
    assert world.encl.secs_child_cnt == 1
    assert bytes(world.memory.bytes[PAGE : 5 * PAGE]) == bytes(4 * PAGE)
    world.driver.drain()
    assert [world.memory.words[i] for i in range(5)] == [0x140, 0, 0, 0, 0]


def test_a_range_of_mixed_pages_goes_in_one_call() -> None:
    world = built(3, SecinfoFlags.of(PageType.REG, RWX))
    call(world, MODIFY, 2, 1, page_type=1)
    world.accept(2)
    trim(world, 1, 3)
    assert [world.epcm(i) for i in (1, 2, 3)] == [0x450] * 3


# --- order of the checks -------------------------------------------------------

EARLY = [
    (errno.ENODEV, "sgx1", "initialized"),
    (errno.EINVAL, "initialized", "arg"),
    (errno.EFAULT, "arg", "offset"),
    (errno.EINVAL, "offset", "absent"),
    (errno.EINVAL, "length0", "absent"),
    (errno.EINVAL, "length", "absent"),
    (errno.EINVAL, "wrap", "absent"),
    (errno.EINVAL, "end", "absent"),
    (errno.EINVAL, "count", "absent"),
    (errno.EFAULT, "absent", "absent"),
]
FIELDS: dict[str, dict[str, int]] = {
    "offset": {"offset": 8},
    "length0": {"length": 0},
    "length": {"length": PAGE + 1},
    "wrap": {"offset": (1 << 64) - PAGE, "length": 2 * PAGE},
    "end": {"offset": SIZE - PAGE, "length": 2 * PAGE},
    "count": {"count": 1},
    "absent": {"offset": 0x40 * PAGE},
}


@ALL
@pytest.mark.parametrize(("number", "first", "second"), EARLY)
def test_the_three_refuse_in_linux_order(
    cmd: int, number: int, first: str, second: str
) -> None:
    world = built()
    if "sgx1" in (first, second):
        world.machine.model = Model(sgx2=False)
    if "initialized" in (first, second):
        world.encl.initialized = False
    ranged = {"offset": PAGE, "length": PAGE} | OWN[cmd]
    fields = dict.fromkeys(_names(cmd), 0) | ranged
    fields |= FIELDS.get(second, {}) | FIELDS.get(first, {})
    world.put(STRUCTS[cmd](**fields))
    with refused(number):
        world.ioctl(cmd, 0x1234 if "arg" in (first, second) else ARGS)
    assert out(world, cmd)["count"] == fields["count"]


@pytest.mark.parametrize(
    ("cmd", "fields"),
    [
        (RESTRICT, {"permissions": 8}),
        (RESTRICT, {"permissions": 1 << 63}),
        (RESTRICT, {"permissions": 2}),
        (RESTRICT, {"permissions": 6}),
        (RESTRICT, {"result": 1}),
        (MODIFY, {"page_type": 0x104}),
        (MODIFY, {"result": 1}),
        (MODIFY, {"page_type": 0}),
        (MODIFY, {"page_type": 2}),
        (MODIFY, {"page_type": 3}),
    ],
)
def test_own_fields_are_judged_before_the_pages(
    cmd: int, fields: dict[str, int]
) -> None:
    world = built()
    with refused(errno.EINVAL):
        call(world, cmd, 0x40, 1, **fields)


def test_a_probe_with_zeroes_is_einval() -> None:
    for cmd in (RESTRICT, MODIFY, REMOVE):
        with refused(errno.EINVAL, "length 0x0"):
            call(built(), cmd, 0, 0, **dict.fromkeys(OWN[cmd], 0))


# --- page by page -----------------------------------------------------------------


@ALL
def test_a_missing_page_stops_with_the_pages_before_it_done(cmd: int) -> None:
    world = built(4)
    if cmd == REMOVE:
        trim(world, 1, 4)
        for index in range(1, 5):
            world.accept(index)
    with refused(errno.EFAULT):
        call(world, cmd, 1, 8)
    assert world.result == world.result | {"count": 4 * PAGE}
    assert world.result.get("result", 0) == 0


def test_restrict_refuses_a_tcs() -> None:
    world = built()
    with refused(errno.EINVAL):
        call(world, RESTRICT, 0, 4)
    assert world.result["count"] == 0


@pytest.mark.parametrize(
    ("become", "ask"),
    [(1, 1), (4, 4), (4, 1)],
    ids=["tcs-tcs", "trim-trim", "trim-tcs"],
)
def test_types_that_cannot_change(become: int, ask: int) -> None:
    world = built(3)
    assert call(world, MODIFY, 2, 1, page_type=become) == 1
    world.accept(2)
    with refused(errno.EINVAL):
        call(world, MODIFY, 1, 3, page_type=ask)
    assert world.result["count"] == PAGE


@pytest.mark.parametrize("prot", [1, 4, 5, 0])
def test_a_page_not_declared_rw_cannot_become_a_tcs(prot: int) -> None:
    world = built(2, SecinfoFlags.of(PageType.REG, prot))
    with refused(errno.EPERM):
        call(world, MODIFY, 1, 2, page_type=1)
    assert world.epcm(1) >> 8 == PageType.REG


@pytest.mark.parametrize(("cmd", "own"), [(RESTRICT, {}), (MODIFY, {"page_type": 1})])
def test_a_page_not_modifiable_tells_its_code(cmd: int, own: dict[str, int]) -> None:
    world = built(3, SecinfoFlags.of(PageType.REG, RWX))
    page = world.encl.page(BASE + 2 * PAGE)
    assert page is not None
    entry = world.machine.epcm[page.epc_page]
    world.machine.epcm[page.epc_page] = replace(entry, pending=True)
    with refused(errno.EFAULT):
        call(world, cmd, 1, 3, **own)
    assert world.result["count"] == PAGE
    assert world.result["result"] == SgxError.PAGE_NOT_MODIFIABLE
    after = world.encl.page(BASE + 2 * PAGE)
    assert after is not None
    assert after.vm_max_prot == RWX, "the cap is as before"


@pytest.mark.parametrize(("cmd", "leaf"), [(RESTRICT, "emodpr"), (MODIFY, "emodt")])
def test_a_fault_of_the_leaf_is_efault_without_a_code(cmd: int, leaf: str) -> None:
    world = built()

    def faults(page: int, operand: int) -> int:
        del page, operand
        raise GeneralProtection("a test's")

    swap(world.driver.kernel, leaf, faults)
    with refused(errno.EFAULT):
        call(world, cmd, 1, 1)
    assert world.result["result"] == 0


def test_remove_needs_trim_first() -> None:
    world = built(4)
    trim(world, 1, 1)
    world.accept(1)
    with refused(errno.EPERM):
        call(world, REMOVE, 1, 2)
    assert world.result["count"] == PAGE


def test_remove_needs_the_enclaves_acceptance() -> None:
    world = built(4)
    trim(world, 1, 2)
    world.accept(1)
    with refused(errno.EPERM):
        call(world, REMOVE, 1, 2)
    assert world.result["count"] == PAGE
    assert world.encl.page(BASE + 2 * PAGE) is not None


@ALL
def test_efault_when_the_struct_cannot_be_written_back(cmd: int) -> None:
    world = built(4)
    world.args.writable = False
    with refused(errno.EFAULT):
        call(world, cmd, 1, 2)


# --- tracking -----------------------------------------------------------------------


@pytest.mark.parametrize("cmd", [RESTRICT, MODIFY])
def test_threads_inside_are_brought_out_so_that_eaccept_passes(cmd: int) -> None:
    world = built(6)
    state = world.machine.enclaves[world.encl.secs]
    state.enter(1)
    kicked: list[Encl] = []
    world.driver.bring_out = kicked.append
    call(world, cmd, 1, 2)
    call(world, cmd, 3, 2)
    assert kicked == [world.encl] * 2
    for index in (1, 2, 3, 4):
        page = world.encl.page(BASE + index * PAGE)
        assert page is not None
        assert state.is_tracked(world.machine.epcm[page.epc_page].epoch)


def test_an_etrack_that_never_ends_is_efault() -> None:
    world = built(2)

    def never(secs: int) -> int:
        del secs
        return SgxError.PREV_TRK_INCMPL

    swap(world.driver.kernel, "etrack", never)
    with refused(errno.EFAULT):
        call(world, RESTRICT, 1, 1)
    assert world.result["result"] == 0
