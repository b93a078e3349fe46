"""Many pages in one ioctl end as they would one ioctl a page."""

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from softsgx.arch.secinfo import PageType, SecinfoFlags
from softsgx.machine.machine import Snapshot
from tests.driver.fakes import BASE, PAGE, World
from tests.driver.test_edmm import MODIFY, OWN, REMOVE, RESTRICT, call

FIRST, COUNT = 1, 12


@dataclass(frozen=True)
class Step:
    cmd: int
    index: int
    count: int
    operand: int
    accept: bool


steps = st.lists(
    st.builds(
        Step,
        st.sampled_from([RESTRICT, MODIFY, MODIFY, REMOVE]),
        st.integers(FIRST - 1, FIRST + COUNT),
        st.integers(1, COUNT),
        st.sampled_from([0, 1, 4]),
        st.booleans(),
    ),
    max_size=6,
)
prots = st.lists(st.sampled_from([1, 3, 7]), min_size=COUNT, max_size=COUNT)


def world_of(caps: list[int], holes: list[int]) -> World:
    """An enclave of pages with those caps, in EPC pages with holes between."""
    world = World()
    world.create()
    section = world.driver.section
    section.alloc_run(40)
    for page in holes:
        section.give(page)
    for at, cap in enumerate(caps):
        world.add(FIRST + at, 1, SecinfoFlags.of(PageType.REG, cap))
    world.init()
    return world


def run(world: World, step: Step, *, one_by_one: bool) -> tuple[int, int]:
    """Return how many pages came through, and the errno or 0."""
    operand = dict.fromkeys(OWN[step.cmd], step.operand)
    size = 1 if one_by_one else step.count
    done = 0
    while done < step.count:
        try:
            done += call(world, step.cmd, step.index + done, size, **operand)
        except OSError as error:
            return done + world.result["count"] // PAGE, error.errno or 0
    return done, 0


def accept_all(world: World) -> None:
    for index in range(FIRST, FIRST + COUNT):
        if world.encl.page(BASE + index * PAGE):
            world.accept(index)


def without_epochs(shot: Snapshot) -> dict[int, object]:
    # one ETRACK for many pages instead of one a page: no thread can tell
    return {
        page: (entry.state, entry.enclavesecs, entry.enclaveaddress)
        for page, entry in shot.epcm.items()
    }


@settings(max_examples=60, deadline=None)
@given(prots, st.lists(st.integers(2, 41), unique=True, max_size=20), steps)
def test_a_run_of_pages_ends_as_page_by_page(
    caps: list[int], holes: list[int], todo: list[Step]
) -> None:
    fast, slow = world_of(caps, holes), world_of(caps, holes)
    for step in todo:
        assert run(fast, step, one_by_one=False) == run(slow, step, one_by_one=True)
        if step.accept:
            accept_all(fast)
            accept_all(slow)
        fast.driver.drain()
        slow.driver.drain()
    one, two = fast.machine.snapshot(), slow.machine.snapshot()
    assert without_epochs(one) == without_epochs(two)
    assert one.epc == two.epc
    assert fast.memory.words == slow.memory.words
    assert fast.driver.section.free == slow.driver.section.free
    for secs, state in one.enclaves.items():
        assert state.state[2] == two.enclaves[secs].state[2], "children"
