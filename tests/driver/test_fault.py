import pytest

from softsgx.arch.faults import PageFault
from softsgx.arch.secinfo import PageType, SecinfoFlags
from softsgx.driver import uapi
from softsgx.driver.fault import Abort, Resolved, Signal
from softsgx.driver.mm import Mm
from softsgx.machine.model import Model
from tests.driver.fakes import BASE, PAGE, RW, RWX, SIZE, TCS, World, swap, tcs_bytes
from tests.driver.test_edmm import MODIFY, RESTRICT, call

R, W, X = 1, 2, 4
SEGV, BUS = 11, 7
MAPERR, ACCERR, ADRERR = 1, 2, 2
READ, WRITE, FETCH = 0x4, 0x6, 0x14


def built(model: Model | None = None, pages: int = 0) -> World:
    """Page 0 a TCS, 1 RW, 2 RX, 3 R, 4 on absent; initialized."""
    world = World(model, pages)
    world.create()
    world.add(0, 1, TCS, tcs_bytes())
    for index, prot in ((1, RW), (2, R | X), (3, R)):
        world.add(index, 1, SecinfoFlags.of(PageType.REG, prot))
    world.init()
    return world


def at(index: int) -> int:
    return BASE + index * PAGE


def fault(
    world: World,
    index: int,
    code: int,
    *,
    from_enclave: bool = True,
    offset: int = 0x123,
) -> object:
    address = at(index) + offset
    return world.driver.fault(world.mm, address, code, from_enclave=from_enclave)


def segv(index: int, si_code: int, code: int) -> Signal:
    return Signal(SEGV, si_code, at(index), 14, code)


def bus(index: int, code: int) -> Signal:
    return Signal(BUS, ADRERR, at(index), 14, code)


# --- Linux's cases, in their order ----------------------------------------------------


@pytest.mark.parametrize("code", [READ, WRITE, FETCH])
def test_no_mapping_is_maperr(code: int) -> None:
    assert fault(built(), 1, code) == segv(1, MAPERR, code)


@pytest.mark.parametrize(
    ("address", "told"),
    [
        (uapi.TASK_SIZE - PAGE, WRITE),
        (uapi.TASK_SIZE, 0x7),
        (0xFFFF_FFFF_8100_0000, 0x7),
        ((1 << 64) - PAGE, 0x7),
    ],
)
def test_linux_says_present_of_all_its_own_addresses(address: int, told: int) -> None:
    world = built()
    outcome = world.driver.fault(world.mm, address, WRITE, from_enclave=True)
    assert outcome == Signal(SEGV, MAPERR, address, 14, told)


def test_ordinary_memory_in_place_of_the_epc_is_an_access_error() -> None:
    assert fault(built(), 1, 0x8007) == segv(1, ACCERR, 0x8007)


def test_the_sgx_bit_goes_to_the_program_untouched() -> None:
    world = built()
    world.map(4, 1, 0)
    assert fault(world, 4, 0x8005) == segv(4, ACCERR, 0x8005)
    assert world.encl.page(at(4)) is None


@pytest.mark.parametrize(
    ("prot", "code", "told"),
    [
        (R, 0x7, 0x7),
        (R, WRITE, WRITE),
        (R | X, 0x7, 0x7),
        (0, READ, READ),
        (0, 0x5, 0x5),
        (0, WRITE, WRITE),
        (0, FETCH, FETCH),
        (R, 0x15, 0x15),
        (R, FETCH, 0x15),
    ],
)
def test_what_the_mapping_forbids_has_no_sgx_bit(
    prot: int, code: int, told: int
) -> None:
    world = built()
    world.map(2, 1, prot)
    assert fault(world, 2, code) == segv(2, ACCERR, told)


@pytest.mark.parametrize(("prot", "told"), [(R, 0x7), (R | X, 0x7), (0, WRITE)])
def test_a_page_that_linux_augmented_is_present_if_its_mapping_has_rights(
    prot: int, told: int
) -> None:
    world = built()
    world.map(4, 1, RW)
    assert fault(world, 4, READ) == Resolved()
    world.map(4, 1, prot)
    assert fault(world, 4, WRITE) == segv(4, ACCERR, told)


def test_a_restricted_page_is_present() -> None:
    world = built()
    world.map(2, 1, R)
    assert fault(world, 2, WRITE) == segv(2, ACCERR, WRITE)
    call(world, RESTRICT, 2, 1)
    assert fault(world, 2, WRITE) == segv(2, ACCERR, 0x7)


def test_a_page_that_is_not_there_is_not_present() -> None:
    world = built()
    world.map(4, 1, R)
    assert fault(world, 4, 0x7) == segv(4, ACCERR, WRITE)
    assert world.encl.page(at(4)) is None, "no EAUG for what the mapping forbids"


@pytest.mark.parametrize("code", [0x25, 0x27])
def test_a_protection_keys_refusal_stays_one(code: int) -> None:
    world = built()
    world.map(1, 1, RW)
    assert fault(world, 1, code) == segv(1, 4, code)


def test_other_bits_of_the_native_code_are_dropped() -> None:
    world = built()
    world.map(1, 1, R)
    assert fault(world, 1, 0x7 | 0x40 | 0x8) == segv(1, ACCERR, 0x7)


@pytest.mark.parametrize("code", [READ, WRITE, FETCH])
@pytest.mark.parametrize("from_enclave", [True, False])
def test_an_absent_page_is_augmented_whoever_touches_it(
    code: int,
    from_enclave: bool,  # noqa: FBT001 -- data
) -> None:
    world = built()
    world.map(4, 1, RWX)
    free = world.driver.section.free
    world.memory.bytes[at(4) - BASE] = 0xFF
    assert fault(world, 4, code, from_enclave=from_enclave) == Resolved()
    assert world.epcm(4) == 0x240 | R | W | 0x8
    assert world.memory.bytes[at(4) - BASE] == 0
    page = world.encl.page(at(4))
    assert page is not None
    assert page.vm_max_prot == RWX
    assert world.driver.section.free == free - 1
    assert world.encl.secs_child_cnt == world.machine.enclaves[world.encl.secs].children
    world.driver.drain()
    assert world.memory.words[4] == 0x240 | R | W | 0x8


def test_a_readable_mapping_is_augmented_for_a_fetch_as_linux_does() -> None:
    world = built()
    world.map(4, 1, R)
    assert fault(world, 4, FETCH) == Resolved()
    assert fault(world, 4, FETCH) == segv(4, ACCERR, 0x15)


def test_the_augmented_page_is_pending_until_accepted() -> None:
    world = built()
    world.map(4, 1, RWX)
    assert fault(world, 4, WRITE) == Resolved()
    assert fault(world, 4, WRITE) == segv(4, ACCERR, 0x8007)
    world.accept(4)
    assert fault(world, 4, WRITE) == Resolved()
    assert fault(world, 4, FETCH) == segv(4, ACCERR, 0x8015)


def test_without_sgx2_an_absent_page_is_sigbus() -> None:
    world = built(Model(sgx2=False))
    world.map(4, 1, RWX)
    assert fault(world, 4, WRITE) == bus(4, WRITE)


def test_before_init_an_absent_page_is_sigbus() -> None:
    world = World()
    world.create()
    world.map(4, 1, RWX)
    assert fault(world, 4, READ) == bus(4, READ)
    assert World().driver.fault(Mm(), at(4), READ, from_enclave=False) == Signal(
        SEGV, MAPERR, at(4), 14, READ
    )


def test_before_create_a_touch_is_sigbus() -> None:
    world = World()
    world.driver.mmap(world.mm, world.encl, 0, PAGE, R, 1)
    outcome = world.driver.fault(world.mm, 0x10, READ, from_enclave=False)
    assert outcome == Signal(BUS, ADRERR, 0x10, 14, READ)


def test_outside_the_enclave_a_touch_is_sigbus() -> None:
    world = World()
    world.create()
    world.driver.mmap(world.mm, world.encl, BASE + SIZE, PAGE, R, 1)
    world.init()
    assert fault(world, SIZE // PAGE, READ) == bus(SIZE // PAGE, READ)


@pytest.mark.parametrize("left", [0, 1])
def test_a_full_epc_is_sigbus_and_takes_nothing(left: int) -> None:
    world = built()
    world.map(4, 1, RWX)
    section = world.driver.section
    section.alloc_run(section.free - left)
    world.encl.page_cnt = 512 if left else world.encl.page_cnt
    before = world.encl.page_cnt, len(world.encl.versions.pages)
    assert fault(world, 4, WRITE) == bus(4, WRITE)
    assert section.free == left
    assert (world.encl.page_cnt, len(world.encl.versions.pages)) == before
    assert world.encl.page(at(4)) is None


def test_what_eaug_refuses_is_sigbus_and_takes_nothing() -> None:
    world = built()
    world.map(4, 1, RWX)
    free = world.driver.section.free

    def faults(page: int, secs: int, linaddr: int) -> None:
        del page, secs
        raise PageFault(linaddr)

    swap(world.driver.kernel, "eaug", faults)
    assert fault(world, 4, WRITE) == bus(4, WRITE)
    assert world.driver.section.free == free
    assert world.encl.page(at(4)) is None


def test_a_mapping_over_the_cap_is_sigbus() -> None:
    world = World()
    world.create()
    world.map(1, 1, RWX)
    world.add(1, 1)
    world.init()
    assert fault(world, 1, READ) == bus(1, READ)
    assert fault(world, 1, 0x5) == bus(1, READ)


# --- a page that is there -------------------------------------------------------------


@pytest.mark.parametrize(
    ("index", "prot", "code"),
    [(1, RW, READ), (1, RW, WRITE), (2, R | X, FETCH), (2, X, FETCH), (3, R, 0x5)],
)
@pytest.mark.parametrize("from_enclave", [True, False])
def test_what_both_allow_is_resolved(
    index: int,
    prot: int,
    code: int,
    from_enclave: bool,  # noqa: FBT001 -- data
) -> None:
    world = built()
    world.map(index, 1, prot)
    assert fault(world, index, code, from_enclave=from_enclave) == Resolved()


@pytest.mark.parametrize(
    ("code", "told"), [(READ, 0x8005), (WRITE, 0x8007), (FETCH, 0x8015), (0x7, 0x8007)]
)
def test_what_epcm_forbids_the_enclave_has_the_sgx_bit(code: int, told: int) -> None:
    world = World()
    world.build(2, SecinfoFlags.of(PageType.REG, RWX))
    world.map(1, 2, RWX)
    call(world, MODIFY, 1, 1)
    assert fault(world, 1, code) == segv(1, ACCERR, told)
    world.accept(1)
    assert fault(world, 1, code) == segv(1, ACCERR, told)


def test_only_the_forbidden_access_faults() -> None:
    world = World()
    world.build(2, SecinfoFlags.of(PageType.REG, RWX))
    world.map(1, 1, RWX)
    call(world, RESTRICT, 1, 1)
    assert fault(world, 1, READ) == Resolved()
    assert fault(world, 1, WRITE) == segv(1, ACCERR, 0x8007)
    assert fault(world, 1, FETCH) == segv(1, ACCERR, 0x8015)


def test_a_tcs_is_closed_to_the_enclave() -> None:
    world = built()
    world.map(0, 1, RW)
    assert fault(world, 0, READ) == segv(0, ACCERR, 0x8005)


@pytest.mark.parametrize("code", [READ, WRITE])
def test_the_host_meets_the_abort_page_not_a_signal(code: int) -> None:
    world = built()
    world.map(0, 1, RW)
    assert fault(world, 0, code, from_enclave=False) == Abort()


@pytest.mark.parametrize(
    ("start", "end", "writes", "reached"),
    [
        (at(0), at(1), False, at(1)),  # a TCS
        (at(0), at(1), True, at(1)),
        (at(0) + 9, at(2) + 7, False, at(2) + 7),
        (at(1), at(2) + 7, True, at(2)),  # code cannot be written
        (at(2) + 5, at(4), False, at(3)),  # page 3 is not mapped
        (at(4) + 1, at(4) + 2, True, at(4) + 2),  # a touch brings it
        (at(3) + 1, at(4), False, at(3) + 1),
        (at(0), at(0), False, at(0)),
    ],
)
def test_the_kernel_reaches_what_host_code_reaches(
    start: int,
    end: int,
    writes: bool,  # noqa: FBT001 -- data
    reached: int,
) -> None:
    world = built()
    for index, prot in ((0, RW), (1, RW), (2, R | X), (4, RW)):
        world.map(index, 1, prot)
    found = world.driver.hidden_up_to(world.mm, start, end, writes=writes)
    assert max(found, start) == reached


def test_an_address_is_a_pages_when_the_enclave_faults() -> None:
    world = built()
    inside = fault(world, 1, READ)
    outside = fault(world, 1, READ, from_enclave=False)
    assert isinstance(inside, Signal)
    assert isinstance(outside, Signal)
    assert inside.address == at(1)
    assert outside.address == at(1) + 0x123


def test_a_forked_child_faults_on_the_same_enclave() -> None:
    world = built()
    world.map(4, 1, RWX)
    child = world.mm.fork()
    world.driver.fault(child, at(4), WRITE, from_enclave=True)
    assert world.encl.page(at(4)) is not None
