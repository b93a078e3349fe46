"""Enclaves in cgroups with a limit: they page among themselves, and then get ENOMEM."""

import errno
from contextlib import suppress

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from softsgx.driver.encl import CLUSTER
from softsgx.driver.epc.cgroup import Cgroup
from softsgx.driver.fault import Resolved, Signal
from softsgx.driver.mm import Mm
from softsgx.driver.paging.pages import load_page, write_out
from softsgx.driver.paging.reclaim import NR_TO_SCAN
from softsgx.driver.vepc import VepcDevice
from tests.driver.cgroups import FakeMember
from tests.driver.fakes import BASE, PAGE, RW, TCS, FakeMemory, refused, swap, tcs_bytes
from tests.driver.invariants import assert_charged, assert_sound
from tests.driver.paged import FakeTables, Paged

FIXED = 2
"""Pages of an enclave that never leave before the others: its SECS and versions."""


class Limited(Paged):
    """Several enclaves of one process, each built and touched from a cgroup."""

    def __init__(self, pages: int = 400) -> None:
        super().__init__(pages)
        self.worlds = {"": (self.encl, self.memory)}

    def cgroup(self, path: str) -> Cgroup:
        return self.driver.cgroups.find(path)

    def enter(self, path: str) -> Cgroup:
        self.driver.cgroups.enter(FakeMember(path))
        return self.cgroup(path)

    def limit(self, path: str, pages: int) -> Cgroup:
        cgroup = self.cgroup(path)
        cgroup.max = pages * PAGE
        return cgroup

    def use(self, path: str) -> None:
        """Be in a cgroup, with the enclave that was made there."""
        self.enter(path)
        if path not in self.worlds:
            memory = FakeMemory()
            self.worlds[path] = (self.driver.open(memory), memory)
        self.encl, self.memory = self.worlds[path]
        self.mm = Mm()
        self.mm.tables = FakeTables(self.memory)
        self.task.mm = self.mm

    def ready_in(self, path: str, count: int) -> Cgroup:
        self.use(path)
        self.ready(count)
        return self.cgroup(path)


def test_an_enclave_pages_within_its_limit_and_another_does_not_notice() -> None:
    world = Limited()
    world.limit("/small", 20)
    small = world.ready_in("/small", 100)
    encl, memory, mm = world.encl, world.memory, world.mm
    assert 20 - NR_TO_SCAN < small.usage <= small.peak <= 20
    assert encl.evicted == 101 + FIXED - small.usage
    large = world.ready_in("/large", 100)
    assert (large.usage, world.encl.evicted) == (101 + FIXED, 0)
    other = world.encl
    world.enter("/small")
    world.encl, world.memory, world.mm = encl, memory, mm
    for index in [*range(1, 101), *range(100, 0, -1)]:
        assert world.touch(index) == Resolved()
        assert world.content(index) == (index - 1) % 251 + 1
        assert small.usage <= 20
    assert other.evicted == 0
    assert (large.events, large.events_local) == (0, 0)
    assert world.driver.section.free > 200
    assert_sound(world.driver)


def test_a_limit_of_what_is_above_counts_too_and_its_events_go_up() -> None:
    world = Limited()
    world.limit("/a", 30)
    low = world.ready_in("/a/b/c", 60)
    lines = [world.cgroup(path) for path in ("/a/b/c", "/a/b", "/a", "/")]
    assert {one.usage for one in lines} == {low.usage}
    assert 30 - NR_TO_SCAN < low.usage <= 30
    assert [one.events_local > 0 for one in lines] == [False, False, True, False]
    assert [one.events > 0 for one in lines] == [False, False, True, False]
    assert low.room == 30 - low.usage


def test_only_the_tasks_own_subtree_gives_way_as_in_the_series() -> None:
    world = Limited()
    world.limit("/a", 54)
    world.ready_in("/a/first", 50)
    first = world.encl
    world.use("/a/second")
    with refused(errno.ENOMEM, "cgroup /a: "):
        world.ready(60)
    assert first.evicted == 0
    world.enter("/a")
    world.create()
    assert first.evicted == NR_TO_SCAN


def test_an_event_is_a_charge_that_did_not_fit() -> None:
    world = Limited()
    world.use("/a")
    world.create()
    world.fill(40)
    cgroup = world.limit("/a", world.cgroup("/a").usage)
    assert cgroup.events == 0
    world.fill(1, first=41)
    assert (cgroup.events, world.encl.evicted) == (1, 16)
    world.fill(15, first=42)
    assert cgroup.events == 1
    world.fill(17, first=57)
    assert (cgroup.events, world.encl.evicted) == (3, 48)


def test_without_what_can_leave_the_limit_is_enomem() -> None:
    world = Limited()
    world.limit("/a", 20)
    world.use("/a")
    world.tables = FakeTables(world.memory)
    world.tables.can_evict = False
    world.mm.tables = world.tables
    world.create()
    world.map(0, 64, RW)
    with refused(errno.ENOMEM):
        world.fill(32)
    # What fitted is there: 16 in one piece, then two.
    assert world.encl.secs_child_cnt == 18
    assert world.count() == 2
    assert world.cgroup("/a").events == world.cgroup("/a").events_local > 0
    assert_sound(world.driver)


def test_a_limit_below_what_never_leaves_refuses_create() -> None:
    world = Limited()
    world.limit("/a", 1)
    world.use("/a")
    with refused(errno.ENOMEM, "cgroup /a: 4096 of 4096 bytes in use"):
        world.create()
    assert world.cgroup("/a").usage == 0
    assert_sound(world.driver)


def test_a_fault_at_the_limit_is_a_sigbus_and_nothing_is_killed() -> None:
    world = Limited()
    cgroup = world.ready_in("/a", 10)
    world.map(0, 64, RW)
    assert world.touch(20) == Resolved()
    world.tables = FakeTables(world.memory)
    world.tables.can_evict = False
    world.mm.tables = world.tables
    world.limit("/a", cgroup.usage)
    outcome = world.touch(21)
    assert isinstance(outcome, Signal)
    assert outcome.signo == 7
    assert world.encl.page(BASE + 20 * PAGE) is not None
    assert world.encl.page(BASE + 21 * PAGE) is None
    world.limit("/a", cgroup.usage + 1)
    assert world.touch(21) == Resolved()
    assert_sound(world.driver)


def test_a_limit_below_the_usage_waits_for_the_next_allocation() -> None:
    world = Limited()
    cgroup = world.ready_in("/a", 50)
    usage = cgroup.usage
    world.limit("/a", 10)
    assert (cgroup.usage, world.encl.evicted) == (usage, 0)
    for index in range(1, 51):
        assert world.touch(index) == Resolved()
    assert cgroup.usage == usage
    world.map(0, 80, RW)
    assert world.touch(60) == Resolved()
    assert cgroup.usage <= 10
    assert_sound(world.driver)


def test_who_brings_a_page_back_pays_for_it() -> None:
    world = Limited()
    world.limit("/a", 20)
    first = world.ready_in("/a", 40)
    usage, out = first.usage, world.out()
    second = world.enter("/b")
    for index in out:
        assert world.touch(index) == Resolved()
    assert (first.usage, second.usage) == (usage, len(out))
    world.driver.release(world.encl)
    assert (first.usage, second.usage, second.peak) == (0, 0, len(out))
    assert_charged(world.driver)


def test_pages_of_guests_are_charged_and_stay() -> None:
    world = Limited()
    cgroup = world.ready_in("/vm", 10)
    world.limit("/vm", 20)
    vepc = VepcDevice(world.driver).open()
    vepc.fault(0, 15)
    assert cgroup.usage <= 20
    assert world.encl.evicted > 0
    with refused(errno.ENOMEM, "cgroup /vm"):
        vepc.fault(15, 10)
    (run,) = vepc.runs
    assert run.count == 15
    assert not {*range(run.first, run.first + 15)}.intersection(
        world.driver.cgroups.listed(cgroup, 0)
    )
    usage, events = cgroup.usage, cgroup.events
    assert events > 0
    vepc.release()
    assert cgroup.usage == usage - 15


def test_on_an_epc_that_is_full_for_all_others_give_way() -> None:
    world = Limited(60)
    world.ready_in("/a", 50)
    first = world.encl
    world.limit("/b", 30)
    second = world.ready_in("/b", 50)
    assert first.evicted > 0
    assert second.usage <= 30
    assert second.events > 0
    assert world.cgroup("/a").events == 0
    assert_sound(world.driver)


def test_what_came_back_lately_stays_once() -> None:
    world = Limited()
    cgroup = world.ready_in("/a", 6 * CLUSTER - 1)
    old = {*range(5 * CLUSTER, 6 * CLUSTER)}
    assert write_out(world.driver, world.encl, [(1, 5 * CLUSTER - 1)])
    for index in range(1, 5 * CLUSTER):
        load_page(world.driver, world.encl, index)
    reclaimer = world.driver.reclaimer
    assert reclaimer
    assert reclaimer.reclaim_within(cgroup) == NR_TO_SCAN == len(old)
    assert world.out() == old
    while reclaimer.reclaim_within(cgroup):
        pass
    assert len(world.out()) == 6 * CLUSTER


def test_of_neighbours_only_those_of_the_cgroup_leave() -> None:
    world = Limited()
    world.ready_in("/a", 2 * CLUSTER - 1)
    assert write_out(world.driver, world.encl, [(4, 3), (9, 2)]) == 5
    second = world.enter("/b/c")
    for index in (4, 5, 6, 9, 10):
        load_page(world.driver, world.encl, index)
    world.encl.reclaim.young.clear()
    reclaimer = world.driver.reclaimer
    assert reclaimer
    assert reclaimer.reclaim_within(world.cgroup("/b")) == 5
    assert world.out() == {4, 5, 6, 9, 10}
    assert (second.usage, world.cgroup("/a").usage) == (0, 2 * CLUSTER - 5 + FIXED)
    assert reclaimer.reclaim_within(second) == 0


def test_who_is_moved_in_the_midst_of_add_pages_pays_where_it_is() -> None:
    world = Limited(4096)
    world.use("/a")
    member = FakeMember("/a")
    world.driver.cgroups.enter(member)
    world.create()
    copy_into = world.task.copy_into

    def move(addr: int, view: memoryview) -> bool:
        # A piece is charged where the end of its copy finds the task.
        if len(world.task.copies) == 1:
            member.path = "/b"
        return copy_into(addr, view)

    swap(world.task, "copy_into", move)
    assert world.add(0, 256) == 256
    assert world.cgroup("/a").usage == 128 + FIXED
    assert world.cgroup("/b").usage == 128


def test_pieces_of_add_pages_are_small_beside_a_small_limit() -> None:
    world = Limited(4096)
    world.limit("/a", 64)
    for path, size in (("/a", 16), ("/b", 128)):
        world.use(path)
        world.create()
        world.task.copies.clear()
        world.add(0, 200)
        assert max(count for _, count in world.task.copies) == size * PAGE


PATHS = ["/a", "/a/b", "/a/c", "/d"]


class Storm(RuleBasedStateMachine):
    """Enclaves of several cgroups, limits that change, pages that come and go."""

    @initialize()
    def begin(self) -> None:
        self.world = Limited(90)
        self.lowered: set[str] = set()
        self.mms: dict[str, Mm] = {}

    def use(self, path: str) -> None:
        self.world.use(path)
        self.world.mm = self.world.task.mm = self.mms.setdefault(path, self.world.mm)

    @rule(path=st.sampled_from(PATHS), count=st.integers(1, 60))
    def build(self, path: str, count: int) -> None:
        self.use(path)
        with suppress(OSError):
            self.world.create()
        with suppress(OSError):
            self.world.add(0, 1, TCS, tcs_bytes())
        with suppress(OSError):
            self.world.fill(count)
        if self.world.encl.created and not self.world.encl.initialized:
            with suppress(OSError):
                self.world.init()
            self.world.map(0, 128, RW)

    @rule(
        path=st.sampled_from(PATHS),
        by=st.sampled_from(PATHS),
        indices=st.lists(st.integers(0, 100), max_size=40),
    )
    def touch(self, path: str, by: str, indices: list[int]) -> None:
        self.use(path)
        self.world.enter(by)
        for index in indices:
            page = self.world.encl.page(BASE + index * PAGE)
            outcome = self.world.touch(index)
            if page and isinstance(outcome, Signal) and outcome.signo == 7:
                assert page.evicted

    @rule(path=st.sampled_from(PATHS), pages=st.integers(0, 80))
    def limit(self, path: str, pages: int) -> None:
        cgroup = self.world.limit(path, pages)
        if cgroup.usage > pages:
            self.lowered.add(path)

    @rule(path=st.sampled_from(PATHS))
    def release(self, path: str) -> None:
        self.use(path)
        self.world.driver.mm_gone(self.world.mm)
        self.world.driver.release(self.world.encl)
        del self.mms[path], self.world.worlds[path]

    @invariant()
    def limits_hold_but_where_they_were_lowered(self) -> None:
        for path in PATHS:
            cgroup = self.world.cgroup(path)
            if cgroup.usage * PAGE <= cgroup.max:
                self.lowered.discard(path)
            else:
                assert path in self.lowered

    @invariant()
    def all_is_sound(self) -> None:
        assert_sound(self.world.driver)


Storm.TestCase.settings = settings(
    max_examples=10, stateful_step_count=12, deadline=None
)
TestStorm = Storm.TestCase
