"""Charges of EPC pages to cgroups: hierarchical, limited, counted."""

import errno
from _thread import start_new_thread
from threading import Event

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from softsgx.driver.epc.cgroup import NO_LIMIT, Cgroup, EpcCgroups
from softsgx.driver.epc.section import Section
from tests.driver.cgroups import FakeMember, Tree
from tests.driver.fakes import refused

PAGE = 4096
PATHS = ["/", "/a", "/a/b", "/a/b/c", "/a/d", "/e"]
EPC = 1200
"""Pages: chunks of 512 are among what can go wrong."""


def test_a_charge_goes_to_the_cgroup_and_to_all_above() -> None:
    tree = Tree()
    low = tree.enter("/a/b")
    tree.cgroups.charge(10, 3, listed=True)
    usages = [tree.cgroups.find(path).usage for path in ("/a/b", "/a", "/")]
    assert usages == [3, 3, 3]
    tree.enter("/a")
    tree.cgroups.charge(20, 2, listed=True)
    usages = [tree.cgroups.find(path).usage for path in ("/a/b", "/a", "/")]
    assert usages == [3, 5, 5]
    tree.cgroups.uncharge(10, 3)
    assert (low.usage, low.peak) == (0, 3)
    assert tree.cgroups.root.usage == 2


def test_a_run_of_several_cgroups_is_taken_off_each() -> None:
    tree = Tree()
    for first, path in ((0, "/a"), (4, "/e"), (6, "/a/b")):
        tree.enter(path)
        tree.cgroups.charge(first, 2, listed=first != 4)
    tree.cgroups.charge(2, 2, listed=False)
    tree.cgroups.uncharge(1, 6)
    usages = [tree.cgroups.find(path).usage for path in ("/a", "/e", "/a/b", "/")]
    assert usages == [2, 0, 1, 2]


def test_a_member_is_asked_when_somebody_looks() -> None:
    tree = Tree()
    tree.make("/a")
    tree.make("/e")
    member = FakeMember("/a")
    tree.cgroups.enter(member)
    assert tree.cgroups.current() is tree.cgroups.current()
    assert member.asked == 1
    member.path = "/e"
    assert tree.cgroups.current().path == "/a"
    assert tree.cgroups.look().path == "/e"
    assert tree.cgroups.current().path == "/e"
    member.path = "/a"
    tree.cgroups.enter(member)
    assert tree.cgroups.current().path == "/a"


def test_nobody_that_entered_is_the_root() -> None:
    cgroups = EpcCgroups()
    assert cgroups.current() is cgroups.root


def test_what_a_thread_entered_is_its_own() -> None:
    tree = Tree()
    tree.enter("/a")
    paths, done = [], Event()

    def other() -> None:
        paths.append(tree.cgroups.current().path)
        tree.enter("/e")
        paths.append(tree.cgroups.current().path)
        done.set()

    start_new_thread(other, ())
    assert done.wait(10)
    assert paths == ["/", "/e"]
    assert tree.cgroups.current().path == "/a"


def test_what_is_outside_of_what_we_see_is_the_machines() -> None:
    tree = Tree(has_root=False)
    cgroups = tree.cgroups
    for path in ("/..", "/../x", "/../../y/z"):
        assert cgroups.find(path) is cgroups.root
    assert cgroups.find("/").parent is cgroups.root
    assert cgroups.find("/..x").parent is cgroups.find("/")


def test_a_directory_made_anew_is_another_cgroup() -> None:
    tree = Tree()
    old = tree.enter("/a/b")
    old.max = 5 * PAGE
    tree.cgroups.charge(0, 2, listed=True)
    for path in ("/a/b", "/a"):
        tree.hierarchy.remove(path)
    new = tree.enter("/a/b")
    assert new is not old
    assert (new.max, new.usage) == (NO_LIMIT, 0)
    assert new.parent is tree.cgroups.find("/a")
    assert old.is_dead
    # What the old ones hold is still somebody's, and can be evicted from above.
    assert tree.cgroups.root.usage == 2
    assert [*tree.cgroups.listed(tree.cgroups.root, 0)] == [0, 1]
    tree.cgroups.uncharge(0, 2)
    assert tree.cgroups.root.usage == 0
    assert tree.cgroups.root.children == {tree.cgroups.find("/a")}


def test_cgroups_that_are_gone_are_forgotten() -> None:
    tree = Tree()
    for number in range(2000):
        tree.enter(f"/job{number}")
        tree.hierarchy.remove(f"/job{number}")
    assert len(tree.cgroups.root.children) < 200
    assert len(tree.cgroups._numbered) < 200
    assert [path for path, _ in tree.cgroups.all()] == ["/"]


def test_a_section_says_which_limit_is_met() -> None:
    tree = Tree()
    section = Section([(0, 100)], 100, tree.cgroups)
    tree.enter("/a/b")
    tree.cgroups.find("/a").max = 3 * PAGE + 1
    assert section.room == 3
    with refused(errno.ENOMEM, "cgroup /a: 0 of 12289 bytes in use"):
        section.alloc_run(4)
    assert (section.free, tree.cgroups.root.usage) == (100, 0)
    assert section.alloc_run(3) == [(0, 3)]
    tree.cgroups.find("/a").max = 0
    assert section.room == 0
    assert section.alloc_run(0) == []


def test_the_pages_of_a_subtree_come_from_each_cgroup_in_turn() -> None:
    tree = Tree()
    for first, path in ((0, "/a"), (100, "/a/b"), (200, "/e")):
        tree.enter(path)
        tree.cgroups.charge(first, 3, listed=True)
    tree.cgroups.charge(50, 3, listed=False)
    parent = tree.cgroups.find("/a")
    firsts = {next(tree.cgroups.listed(parent, 0)) for _ in range(2)}
    assert firsts == {0, 100}
    found = [*tree.cgroups.listed(parent, 1)]
    assert sorted(found) == [0, 1, 2, 100, 101, 102]
    # The place is one among its pages of the 512 that are looked at together.
    assert found[0] in {1, 101}
    assert [*tree.cgroups.listed(tree.cgroups.find("/a/b"), 4)] == [101, 102, 100]


@pytest.mark.parametrize("place", [0, 511, 512, 5000])
def test_pages_in_many_chunks_come_once(place: int) -> None:
    tree = Tree()
    tree.enter("/a")
    tree.cgroups.charge(300, 2000, listed=True)
    tree.cgroups.uncharge(500, 1100)
    found = [*tree.cgroups.listed(tree.cgroups.root, place)]
    assert sorted(found) == [*range(300, 500), *range(1600, 2300)]
    assert len(tree.cgroups.find("/a").chunks) == 3


def test_what_is_free_takes_no_memory() -> None:
    tree = Tree()
    section = Section([(0, 1 << 28)], 1 << 28, tree.cgroups)
    tree.enter("/a")
    for listed in (True, False):
        for first, count in section.alloc_run(5000, listed=listed):
            for page in range(first, first + count):
                section.give(page)
    assert not tree.cgroups._charged.chunks
    assert not tree.cgroups.find("/a").chunks


class Linux:
    """The misc controller, one page at a time: misc_cg_try_charge and its kin."""

    def __init__(self) -> None:
        self.usage = dict.fromkeys(PATHS, 0)
        self.max = dict.fromkeys(PATHS, NO_LIMIT)
        self.events = dict.fromkeys(PATHS, 0)
        self.local = dict.fromkeys(PATHS, 0)

    def line(self, path: str) -> list[str]:
        above = [one for one in PATHS if one == "/" or f"{path}/".startswith(f"{one}/")]
        return sorted(above, key=len, reverse=True)

    def try_charge(self, path: str) -> bool:
        for at, one in enumerate(self.line(path)):
            self.usage[one] += PAGE
            if self.usage[one] > self.max[one]:
                self.local[one] += 1
                for above in self.line(one):
                    self.events[above] += above != "/"
                for done in self.line(path)[: at + 1]:
                    self.usage[done] -= PAGE
                return False
        return True

    def uncharge(self, path: str) -> None:
        for one in self.line(path):
            self.usage[one] -= PAGE


class Charges(RuleBasedStateMachine):
    """Any order of charges and limits is what Linux makes of it."""

    @initialize()
    def begin(self) -> None:
        self.tree = Tree()
        self.linux = Linux()
        self.section = Section([(0, EPC)], EPC, self.tree.cgroups)
        self.pages: dict[int, str] = {}
        self.lists: set[int] = set()
        self.peaks = dict.fromkeys(PATHS, 0)

    def cgroup(self, path: str) -> Cgroup:
        return self.tree.cgroups.find(path)

    @rule(path=st.sampled_from(PATHS), count=st.integers(0, 700), listed=st.booleans())
    def charge(self, path: str, count: int, *, listed: bool) -> None:
        cgroup = self.tree.enter(path)
        count = min(count, self.section.free)
        full = cgroup.full(count)
        done = 0
        while done < count and self.linux.try_charge(path):
            done += 1
        if full is not None:
            assert done < count
            full.meet_limit()
            assert self.section.room == done
            with refused(errno.ENOMEM, f"cgroup {full.path}: "):
                self.section.alloc_run(count, listed=listed)
        else:
            assert done == count
        for first, size in self.section.alloc_run(done, listed=listed):
            run = range(first, first + size)
            self.pages.update(dict.fromkeys(run, path))
            self.lists.update(run if listed else ())

    @rule(first=st.integers(0, EPC), count=st.integers(1, 600))
    def give(self, first: int, count: int) -> None:
        run = []
        for page in range(first, first + count):
            if page in self.pages:
                run.append(page)
                continue
            self.give_run(run)
            run = []
        self.give_run(run)

    def give_run(self, run: list[int]) -> None:
        if run:
            self.section.give(run[0], len(run))
        for page in run:
            self.linux.uncharge(self.pages.pop(page))
            self.lists.discard(page)

    @rule(path=st.sampled_from(PATHS[1:]), limit=st.integers(0, 300 * PAGE))
    def limit(self, path: str, limit: int) -> None:
        self.tree.make(path)
        self.cgroup(path).max = self.linux.max[path] = limit

    @rule(path=st.sampled_from(PATHS[1:]))
    def unlimit(self, path: str) -> None:
        self.tree.make(path)
        self.cgroup(path).max = self.linux.max[path] = NO_LIMIT

    @invariant()
    def every_page_is_charged_where_it_should_be(self) -> None:
        for path in PATHS:
            cgroup, linux = self.cgroup(path), self.linux
            assert cgroup.usage * PAGE == linux.usage[path], path
            assert (cgroup.events, cgroup.events_local) == (
                linux.events[path],
                linux.local[path],
            )
            self.peaks[path] = max(self.peaks[path], cgroup.usage)
            assert cgroup.peak == self.peaks[path]

    @invariant()
    def those_that_can_leave_are_found(self) -> None:
        for path in PATHS:
            below = {p for p in self.lists if path in self.linux.line(self.pages[p])}
            found = [*self.tree.cgroups.listed(self.cgroup(path), 77)]
            assert len(found) == len(below)
            assert set(found) == below


Charges.TestCase.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None
)
TestCharges = Charges.TestCase
