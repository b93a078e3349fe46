"""Enclaves that together need far more than the EPC has: each gets on."""

from signal import SIGBUS

import pytest

from softsgx.driver.encl import Encl
from softsgx.driver.fault import Resolved, Signal, Wait
from softsgx.driver.mm import Mm
from softsgx.driver.paging import reclaim
from softsgx.driver.paging.pages import is_needed, load_page
from softsgx.machine.crossing import STAGE_ACTIVE
from softsgx.machine.fields import TCS_STAGE
from tests.driver.fakes import RW, FakeMemory
from tests.driver.invariants import assert_sound
from tests.driver.paged import FakeTables, Paged, evict

CROWD, PAGES, EPC = 8, 20, 50
"""Enclaves, the pages that an instruction of each needs, and pages for all."""


class Crowd(Paged):
    """Enclaves of one process each, which all go on by turns."""

    def __init__(self, epc: int = EPC, pages: int = PAGES) -> None:
        super().__init__(epc)
        self.members = []
        for _ in range(CROWD):
            self.memory = FakeMemory()
            self.encl = self.driver.open(self.memory)
            self.mm = self.task.mm = Mm()
            self.mm.tables = FakeTables(self.memory)
            self.ready(pages)
            self.members.append((self.encl, self.memory, self.mm))

    def be(self, number: int) -> None:
        self.encl, self.memory, self.mm = self.members[number]

    def enter(self, number: int) -> None:
        """Have a thread inside, which keeps a TCS and a frame in the EPC."""
        self.be(number)
        page = load_page(self.driver, self.encl, 0)
        TCS_STAGE.write(self.machine.epc.page(page.epc_page), STAGE_ACTIVE)
        load_page(self.driver, self.encl, 1)

    def miss(self, number: int) -> bool:
        """Have an enclave meet the first of its pages that is out; False: none is."""
        self.be(number)
        out = self.out() - {0}
        return bool(out) and self.touch(min(out)) == Resolved()


def test_each_of_a_crowd_gets_on() -> None:
    world = Crowd()
    left = set(range(CROWD))
    for _ in range(700):
        left = {number for number in left if world.miss(number)}
        if not left:
            break
    assert not left
    assert_sound(world.driver)


def test_who_is_let_be_gives_way_where_nobody_else_has_a_page() -> None:
    world = Crowd()
    assert world.miss(0)
    world.driver.make_room(EPC // 4)
    for _, memory, mm in world.members[1:]:
        mm.tables = FakeTables(memory)
        mm.tables.can_evict = False
    world.driver.section.alloc_run(world.driver.section.free)
    world.driver.make_room(1)
    assert world.driver.section.free


def test_what_a_thread_inside_needs_is_not_chosen() -> None:
    world = Paged()
    world.ready(20)
    assert not is_needed(world.driver, world.encl, 0)
    page = world.encl.numbered(0)
    assert page
    TCS_STAGE.write(world.machine.epc.page(page.epc_page), STAGE_ACTIVE)
    needed = {n for n in range(21) if is_needed(world.driver, world.encl, n)}
    assert needed == {0, 1}


def test_who_finds_all_kept_by_threads_inside_comes_out_and_tries_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = Paged()
    world.ready(60)
    world.map(61, 1, RW)
    index = min(world.out())
    monkeypatch.setattr(reclaim, "is_needed", lambda *_: True)
    world.driver.section.alloc_run(world.driver.section.free)
    assert world.touch(index) == Wait()
    assert world.touch(61) == Wait()
    world.tables.can_evict = False
    for at in (index, 61):
        signal = world.touch(at)
        assert isinstance(signal, Signal)
        assert signal.signo == SIGBUS
    world.tables.can_evict = True
    monkeypatch.setattr(reclaim, "is_needed", lambda *_: False)
    assert world.touch(index) == Resolved()


def test_where_threads_inside_keep_nearly_all_one_enclave_gets_what_is_left() -> None:
    world = Crowd(4 * CROWD + 3, 4)
    for number in range(CROWD):
        world.enter(number)
        evict(world.driver, world.encl, 2, 3, 4)
    reclaimer = world.driver.reclaimer
    assert reclaimer
    reclaimer.came(world.members[0][0], EPC * EPC)
    for number, outcome in ((0, Resolved()), (1, Resolved()), (2, Wait())):
        world.be(number)
        assert world.touch(2) == outcome
    world.be(0)
    assert world.touch(4) == Resolved()
    world.be(2)
    turn = 4 * world.driver.section.pages
    outcomes = [world.touch(2) for _ in range(turn)]
    assert turn - 10 < outcomes.index(Resolved()) < turn


def test_who_adds_pages_comes_before_who_is_let_be(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = Crowd()
    let_be = world.members[0][0]
    world.be(0)
    for index in sorted(world.out())[: PAGES // 2]:
        assert world.touch(index) == Resolved()
    monkeypatch.setattr(reclaim, "is_needed", lambda _, encl, __: encl is not let_be)
    monkeypatch.setattr(Encl, "va_needed", lambda *_: 1)
    reclaimer = world.driver.reclaimer
    assert reclaimer
    reclaimer.came(let_be, EPC * EPC)
    world.driver.section.alloc_run(world.driver.section.free - 1)
    assert world.driver.fitting(world.members[1][0], 1) == 1
