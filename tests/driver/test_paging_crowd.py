"""Enclaves that together need far more than the EPC has: each gets on."""

from softsgx.driver.fault import Resolved
from softsgx.driver.mm import Mm
from softsgx.driver.paging import is_needed
from softsgx.machine.crossing import STAGE_ACTIVE
from softsgx.machine.fields import TCS_STAGE
from tests.driver.fakes import FakeMemory
from tests.driver.invariants import assert_sound
from tests.driver.paged import FakeTables, Paged

CROWD, PAGES, EPC = 8, 20, 50
"""Enclaves, the pages that an instruction of each needs, and pages for all."""


class Crowd(Paged):
    """Enclaves of one process each, which all go on by turns."""

    def __init__(self) -> None:
        super().__init__(EPC)
        self.members = []
        for _ in range(CROWD):
            self.memory = FakeMemory()
            self.encl = self.driver.open(self.memory)
            self.mm = self.task.mm = Mm()
            self.mm.tables = FakeTables(self.memory)
            self.ready(PAGES)
            self.members.append((self.encl, self.memory, self.mm))

    def be(self, number: int) -> None:
        self.encl, self.memory, self.mm = self.members[number]

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
    free = world.driver.section.free
    world.driver.make_room(free + 1)
    assert world.driver.section.free > free


def test_what_a_thread_inside_needs_is_not_chosen() -> None:
    world = Paged()
    world.ready(20)
    assert not is_needed(world.driver, world.encl, 0)
    page = world.encl.numbered(0)
    assert page
    TCS_STAGE.write(world.machine.epc.page(page.epc_page), STAGE_ACTIVE)
    needed = {n for n in range(21) if is_needed(world.driver, world.encl, n)}
    assert needed == {0, 1}
