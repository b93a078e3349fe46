"""A picture of a machine says what is so, and changes nothing."""

from itertools import pairwise

from softsgx.arch.addr import PAGE_SHIFT
from softsgx.arch.secinfo import SecinfoFlags
from softsgx.arch.secs import AttributeFlags
from softsgx.driver.census import (
    PageUse,
    TcsUse,
    enclave_use,
    epc_use,
    page_map,
    tcs_map,
    total_counts,
)
from softsgx.driver.counts import Counts
from softsgx.machine.fields import TCS_CSSA, TCS_OWNER, TCS_STAGE
from softsgx.machine.model import Model
from tests.driver.fakes import BASE, PAGE, REG_RW, SIZE, FakeMemory, World
from tests.driver.paged import EPC, WRITE, Paged
from tests.driver.test_edmm import RESTRICT, call

REG_RX = SecinfoFlags(REG_RW) ^ 2 ^ 4
MODEL = Model(epc_bytes=EPC * PAGE)


def stage(world: World, pid: int) -> None:
    page = world.encl.page(BASE)
    assert page is not None
    raw = world.machine.epc.page(page.epc_page)
    TCS_STAGE.write(raw, 1)
    TCS_OWNER.write(raw, pid)


def whole_map(world: World, most: int = 1000) -> list[PageUse]:
    runs: list[PageUse] = []
    at: int | None = 0
    while at is not None:
        more, at = page_map(world.encl, at, most)
        runs += more
    return runs


def test_an_empty_machine() -> None:
    world = World(MODEL)
    use = epc_use(world.driver)
    assert use.size == use.free == EPC * PAGE
    assert (use.pages, use.secs, use.va, use.evicted, use.beyond) == (0, 0, 0, 0, 0)
    assert use.guests == 0
    assert total_counts(world.driver, []) == Counts()
    assert not world.driver.enclaves, "an open file is no enclave yet"


def test_what_guests_hold_is_theirs() -> None:
    world = World(MODEL)
    world.driver.section.withhold(10)
    world.create()
    use = epc_use(world.driver)
    assert (use.guests, use.secs, use.va) == (10 * PAGE, PAGE, PAGE)
    assert use.free == use.size - 12 * PAGE


def test_an_enclave_that_is_built() -> None:
    world = World(MODEL)
    world.create(int(AttributeFlags.DEBUG))
    world.add(1, 3)
    seen = enclave_use(world.encl)
    assert (seen.initialized, seen.debug, seen.mrenclave) == (False, True, "")
    assert (seen.resident, seen.evicted, seen.va) == (4 * PAGE, 0, PAGE)
    assert (seen.base, seen.size, seen.pids) == (BASE, SIZE, ())
    use = epc_use(world.driver)
    assert (use.pages, use.secs, use.va) == (3 * PAGE, PAGE, PAGE)
    assert use.free == use.size - 5 * PAGE
    assert world.driver.enclaves == {seen.eid: world.encl}


def test_an_enclave_that_runs() -> None:
    world = World()
    world.build()
    world.mm.owner = 77
    world.map(0, 9, 3)
    secs = world.driver.secs(world.encl)
    stage(world, 77)
    seen = enclave_use(world.encl)
    assert (seen.initialized, seen.pids, seen.device) == (True, (77,), "sgx_enclave")
    assert seen.mrenclave == secs.mrenclave.hex()
    assert seen.mrsigner == secs.mrsigner.hex()
    assert (seen.tcs, seen.inside) == (1, 1)


def test_who_is_inside() -> None:
    world = World()
    world.build()
    idle, more = tcs_map(world.driver, world.encl, 0, 10)
    assert idle == [TcsUse(BASE, evicted=False, nssa=1)]
    assert more is None
    stage(world, 77)
    page = world.encl.page(BASE)
    assert page is not None
    TCS_CSSA.write(world.machine.epc.page(page.epc_page), 1)
    world.memory.tallies[0] = (5, 4, 3, 99)
    (seen,), _ = tcs_map(world.driver, world.encl, 0, 10)
    assert seen == TcsUse(BASE, evicted=False, pid=77, tid=99, cssa=1, nssa=1)


def test_tcss_come_in_pieces() -> None:
    world = World()
    world.create()
    world.encl.tcs = {3, 9, 12}
    first, more = tcs_map(world.driver, world.encl, 0, 2)
    rest, end = tcs_map(world.driver, world.encl, more or 0, 2)
    assert [one.address >> PAGE_SHIFT for one in (*first, *rest)] == [
        (BASE >> PAGE_SHIFT) + index for index in (3, 9, 12)
    ]
    assert (more, end) == (12, None)


def test_the_map_joins_what_is_alike() -> None:
    world = World()
    world.create()
    world.add(0, 4)
    world.add(4, 4)
    world.add(9, 2)
    world.add(11, 1, REG_RX)
    world.driver.drain()
    assert whole_map(world) == [
        PageUse(BASE, 8 * PAGE, "REG", "rw-", "rw-", (), evicted=False),
        PageUse(BASE + 9 * PAGE, 2 * PAGE, "REG", "rw-", "rw-", (), evicted=False),
        PageUse(BASE + 11 * PAGE, PAGE, "REG", "r-x", "r-x", (), evicted=False),
    ]


def test_the_map_names_states() -> None:
    world = World()
    world.build()
    call(world, RESTRICT, 2, 1)
    world.driver.drain()
    states = {run.start - BASE: (run.rights, run.states) for run in whole_map(world)}
    assert states[2 * PAGE] == ("r--", ("PR",))
    assert states[3 * PAGE] == ("rw-", ())


def test_pages_that_wait_for_eaccept_are_pending() -> None:
    world = Paged()
    world.ready(4)
    world.map(0, 20, 3)
    world.touch(10, WRITE)
    (run,) = (run for run in whole_map(world) if run.start == BASE + 10 * PAGE)
    assert run.states == ("PENDING",)
    assert run.most == "rwx"


def test_what_is_out_shows_and_stays_out() -> None:
    world = Paged(model=MODEL)
    world.ready(100)
    out = world.out()
    runs = whole_map(world, most=3)
    seen = {
        (run.start - BASE >> PAGE_SHIFT) + n
        for run in runs
        if run.evicted
        for n in range(run.size >> PAGE_SHIFT)
    }
    assert seen == out == world.out()
    assert sum(run.size for run in runs) == 101 * PAGE
    one = enclave_use(world.encl)
    assert one.evicted == len(out) * PAGE
    assert one.resident == (102 - len(out)) * PAGE
    use = epc_use(world.driver)
    assert use.evicted == one.evicted
    assert use.size == use.free + use.pages + use.secs + use.va


def test_a_map_in_pieces_is_the_map() -> None:
    world = Paged()
    world.ready(100)
    pieces = whole_map(world, most=3)
    assert len(pieces) > len(whole_map(world)) > 3
    assert all(one.start + one.size <= two.start for one, two in pairwise(pieces))


def test_faults_and_pages_that_go_and_come_are_counted() -> None:
    world = Paged()
    world.ready(100)
    before = world.encl.counted()
    assert before.evictions == len(world.out())
    for index in sorted(world.out())[:5]:
        world.touch(index)
    after = world.encl.counted()
    assert (after.faults - before.faults, after.reloads) == (5, 5)
    assert after.evictions - after.reloads == len(world.out())


def test_what_agents_counted_is_added_where_a_thread_ever_was() -> None:
    world = World()
    world.build()
    world.memory.tallies = {0: (5, 4, 3, 1), 1: (1 << 64, 0, 0, 0)}
    assert world.encl.counted() == Counts()
    world.encl.entered.add(0)
    world.encl.counts.entries = 2
    assert world.encl.counted() == Counts(entries=7, exits=4, aex=3)
    assert world.encl.counts == Counts(entries=2)


def test_totals_remember_enclaves_that_are_gone() -> None:
    world = World()
    world.build()
    world.encl.entered.add(0)
    world.memory.tallies[0] = (5, 4, 3, 1)
    seen = [enclave_use(world.encl)]
    other = world.driver.open(FakeMemory())
    other.counts.entries = 100
    world.driver.release(other)
    assert total_counts(world.driver, seen) == Counts(5, 4, 3)
    world.memory.tallies[0] = (9, 8, 3, 1)
    world.driver.release(world.encl)
    assert not world.driver.enclaves
    assert total_counts(world.driver, seen) == Counts(9, 8, 3), "not twice"


def test_an_eid_is_never_given_twice() -> None:
    world = World()
    world.build()
    first = world.encl.eid
    world.driver.release(world.encl)
    world.memory = FakeMemory()
    world.encl = world.driver.open(world.memory)
    world.build()
    assert enclave_use(world.encl).eid > first
