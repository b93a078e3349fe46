"""A monitor that evicts a guest's pages, of which the guest's Linux does not know."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softsgx.arch.errors import SgxError
from softsgx.arch.secinfo import PageType
from softsgx.driver.encl import Encl
from softsgx.driver.fault import Resolved, Signal
from softsgx.driver.paging.monitor import Monitor
from softsgx.machine.fields import TCS_STAGE
from softsgx.machine.model import physical_address
from tests.driver.fakes import PAGE, FakeMemory, refused
from tests.driver.oversubscribed import FRAMES, GUEST, OWN, Oversubscribed
from tests.driver.paged import WRITE, evict
from tests.driver.test_edmm import MODIFY, REMOVE, RESTRICT, call


@pytest.fixture
def world() -> Oversubscribed:
    made = Oversubscribed()
    made.ready(150)
    return made


def epc_page(world: Oversubscribed, index: int) -> int:
    page = world.encl.numbered(index)
    assert page is not None
    return page.epc_page


def send(world: Oversubscribed, *indices: int) -> None:
    """Have the monitor evict some pages of the enclave."""
    for index in indices:
        if index not in world.away():
            evict(world.driver, world.encl, index, send=world.pager._send)
            assert index in world.away()


def test_a_guest_has_more_pages_than_there_are(world: Oversubscribed) -> None:
    world.check()
    assert world.away()
    assert not world.out() - world.away()
    assert world.driver.section.free == GUEST - 150 - 1 - 2
    for index in [*range(1, 151), *range(150, 0, -1)]:
        assert world.touch(index) == Resolved()
        assert world.content(index) == (index - 1) % 251 + 1
        assert world.inside() <= FRAMES
    world.check()
    assert world.encl.counts.evictions == 0


def test_what_was_written_comes_back_and_is_nowhere_in_clear_meanwhile(
    world: Oversubscribed,
) -> None:
    for index in range(1, 151):
        assert world.touch(index, WRITE) == Resolved()
        world.encl.view[index * PAGE : (index + 1) * PAGE] = bytes([index + 9]) * PAGE
    for index in world.away():
        assert world.content(index) == 0
        assert bytes([index + 9]) * 64 not in world.images.bytes
    for index in range(1, 151):
        assert world.touch(index) == Resolved()
        assert world.content(index) == index + 9


def test_the_guest_evicts_too_when_its_own_epc_is_full() -> None:
    world = Oversubscribed(pages=120)
    world.ready(240)
    assert world.out() - world.away()
    for index in [*range(1, 241), *range(240, 0, -3)]:
        assert world.touch(index) == Resolved()
        assert world.content(index) == (index - 1) % 251 + 1
    world.check()


def test_the_end_of_an_enclave_gives_all_back(world: Oversubscribed) -> None:
    world.driver.release(world.encl)
    assert not world.pager.out
    assert world.driver.section.free == GUEST
    assert world.inside() == OWN
    assert not world.machine.enclaves


def test_the_monitor_counts_what_it_has_out_and_the_guest_sees_a_child(
    world: Oversubscribed,
) -> None:
    # EREMOVE of a SECS: in the guest VIRTCHILDCNT is children too.
    world.driver.release(world.encl)
    world.encl = world.driver.open(FakeMemory())
    world.memory = world.encl.memory  # type: ignore[assignment]
    world.create()
    world.add(0)
    secs, page = world.encl.secs, epc_page(world, 0)
    world.mm.tables = world.tables
    send(world, 0)
    state = world.machine.enclaves[secs]
    assert (state.children, state.virtchildcnt) == (0, 1)
    assert world.driver.kernel.eremove(secs) == SgxError.CHILD_PRESENT
    world.driver.kernel.eextend(secs, page, 0)
    assert (state.children, state.virtchildcnt) == (1, 0)


def test_a_thread_inside_keeps_its_tcs_and_frame(world: Oversubscribed) -> None:
    assert world.touch(0) == Resolved()
    assert world.touch(1) == Resolved()
    TCS_STAGE.write(world.machine.epc.page(epc_page(world, 0)), 1)
    for index in range(2, 151):
        assert world.touch(index) == Resolved()
    assert not world.away() & {0, 1}


def test_what_the_guest_asks_of_pages_that_are_out_is_done(
    world: Oversubscribed,
) -> None:
    send(world, *range(20, 26))
    call(world, RESTRICT, 20, 3, permissions=1)
    call(world, MODIFY, 23, 3, page_type=PageType.TRIM)
    for index in range(23, 26):
        world.accept(index)
    world.driver.drain()
    send(world, *range(20, 25))
    call(world, REMOVE, 23, 3)
    world.driver.drain()
    assert world.encl.numbered(24) is None
    assert world.touch(20) == Resolved()
    assert world.epcm(20) & 7 == 1
    world.check()


def test_a_page_that_the_guest_blocked_comes_back_blocked(
    world: Oversubscribed,
) -> None:
    world.touch(30)
    page = epc_page(world, 30)
    assert world.driver.kernel.eblock_run([page]) == 1
    send(world, 30)
    assert world.pager.out[page].blocked
    world.pager.reach(page)
    assert world.machine.epcm[page].blocked


def test_version_arrays_and_a_secs_leave_when_nothing_else_can(
    world: Oversubscribed,
) -> None:
    secs, array = world.encl.secs, world.encl.versions.pages[0]
    evict(world.driver, world.encl, *range(1, 5))
    send(world, *range(5, 151), 0)
    assert world.inside() == 2 + OWN
    world.pager.make_room(world.pager.pages - OWN)
    assert world.inside() == OWN
    assert world.pager.out.keys() >= {secs, array}
    assert not world.machine.enclaves
    for index in (1, 7, 0):
        assert world.touch(index) == Resolved()
    assert world.content(7) == 7
    assert world.machine.enclaves[secs].enclavecontext == physical_address(secs)
    world.check()


def test_threads_from_before_the_cycle_are_interrupted(world: Oversubscribed) -> None:
    world.touch(30)
    world.touch(31)
    state = world.machine.enclaves[world.encl.secs]
    kicked: list[Encl] = []
    world.driver.bring_out = kicked.append
    state.enter(7)
    send(world, 30)
    assert kicked
    state.epoch += 1
    # A guest's ETRACK leaves it then, with the SECS' address: the monitor kicks.
    assert world.driver.kernel.etrack(world.encl.secs) == 0


def test_where_no_page_can_leave_the_guests_access_is_sigbus(
    world: Oversubscribed,
) -> None:
    index = min(world.away())
    world.tables.can_evict = False
    inside = [page for page, entry in world.machine.epcm.contents().items() if page]
    for page in inside:
        world.pager.hold(page)
    world.tables.can_evict = False
    with refused(12, "the host has no EPC left for the guest"):
        world.pager.make_room(world.pager.pages)
    while world.pager.free:
        world.driver.section.alloc()
    assert isinstance(world.touch(index), Signal)


def test_an_image_that_was_changed_is_no_page(world: Oversubscribed) -> None:
    index = min(world.away())
    world.images.bytes[epc_page(world, index) * PAGE] ^= 1
    outcome = world.touch(index)
    assert isinstance(outcome, Signal)
    assert outcome.signo == 7
    assert world.touch(index + 1) == Resolved()


def test_a_monitors_leaves_are_those_of_vmx_root_operation() -> None:
    world = Oversubscribed()
    world.ready(3)
    monitor, secs = Monitor(world.machine), world.encl.secs
    info = monitor.erdinfo(epc_page(world, 1))
    assert info.enclavecontext == physical_address(secs)
    monitor.eincvirtchild(epc_page(world, 1), secs)
    monitor.edecvirtchild(epc_page(world, 1), secs)
    with pytest.raises(AssertionError, match="EDECVIRTCHILD"):
        monitor.edecvirtchild(epc_page(world, 1), secs)
    monitor.esetcontext(secs, 0x123000)
    assert monitor.erdinfo(secs).enclavecontext == 0x123000


STEPS = st.lists(
    st.tuples(
        st.sampled_from(("touch", "touch", "guest", "host")), st.integers(1, 160)
    ),
    max_size=120,
)


@settings(max_examples=12, deadline=None)
@given(pages=st.sampled_from([90, 200]), steps=STEPS)
def test_a_storm(pages: int, steps: list[tuple[str, int]]) -> None:
    world = Oversubscribed(pages, frames=40)
    world.ready(160)
    written = {index: (index - 1) % 251 + 1 for index in range(1, 161)}
    for step, (what, index) in enumerate(steps):
        if what == "guest":
            evict(world.driver, world.encl, index)
        elif what == "host":
            evict(world.driver, world.encl, index, send=world.pager._send)
        else:
            assert world.touch(index, WRITE) == Resolved()
            assert world.content(index) == written[index]
            written[index] = step % 255 + 1
            at = index * PAGE
            world.encl.view[at : at + PAGE] = bytes([written[index]]) * PAGE
    world.check()
    world.driver.release(world.encl)
    assert not world.pager.out
