"""The twins of EBLOCK, EWB and ELDU against the leaves, over the whole machine."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.errors import LeafFailed, SgxError
from softsgx.arch.faults import Fault
from softsgx.arch.leaves import Encls
from softsgx.arch.secinfo import PageType
from softsgx.encls import swap
from softsgx.encls.swap import Image, In, Out, eblock_run, eldu_run, ewb_run
from softsgx.machine.epcm import Touched
from softsgx.machine.machine import Snapshot
from tests.support import (
    TCS,
    Evicted,
    Ring0,
    make_machine,
    small_enclave,
)

EPC_PAGES, VA, OTHER_VA, OTHER_SECS = 18, 9, 10, 15
Outcome = type[Exception] | SgxError | None


@dataclass
class Side:
    """One of two equal machines, and what was evicted from it: the images in order."""

    ring0: Ring0
    images: list[tuple[Evicted, int, int]] = field(default_factory=list)

    @classmethod
    def fresh(cls) -> "Side":
        ring0 = small_enclave(make_machine(pages=EPC_PAGES))
        for page in range(5, 9):
            ring0.eaug(page, page * PAGE_SIZE)
            ring0.machine.epc.page(page)[:] = bytes([page]) * PAGE_SIZE
        ring0.epa(VA)
        ring0.epa(OTHER_VA)
        ring0.ecreate(OTHER_SECS)
        ring0.eadd(16, 0, TCS, secs=OTHER_SECS)
        return cls(ring0)

    def state(self) -> tuple[Snapshot, list[Touched]]:
        touched = [
            Touched(one.enclavesecs, one.enclaveaddress + at * PAGE_SIZE, 1, one.state)
            for one in self.ring0.machine.epcm.touched
            for at in range(one.pages)
        ]
        return self.ring0.machine.snapshot(), touched


def attempt(what: Callable[[], object]) -> Outcome:
    """Do something that may fail; return how it ended."""
    try:
        what()
    except LeafFailed as failed:
        return failed.code
    except Fault as fault:
        return type(fault)
    return None


PAGE = st.integers(0, EPC_PAGES - 1)
CHILD = st.integers(1, 8)
SLOT = st.integers(0, 2)
ARRAYS = st.sampled_from([VA, VA, VA, OTHER_VA, 3, 17])
SECS = st.sampled_from([0, 0, 0, OTHER_SECS, 3, None])
SETUPS = st.lists(
    st.one_of(
        st.tuples(st.just("block"), PAGE),
        st.tuples(st.just("track"), st.sampled_from([0, 0, OTHER_SECS])),
        st.tuples(st.just("enter"), st.integers(1, 2)),
        st.tuples(st.just("leave"), st.integers(1, 2)),
        st.tuples(st.just("trim"), PAGE),
        st.tuples(st.just("remove"), PAGE),
    ),
    max_size=12,
)


def prepare(side: Side, setup: list[tuple[str, int]]) -> None:
    ring0 = side.ring0
    deeds: dict[str, Callable[[int], object]] = {
        "block": lambda page: ring0.on_page(Encls.EBLOCK, page),
        "track": lambda secs: ring0.on_page(Encls.ETRACK, secs),
        "enter": lambda lp: ring0.enclave().enter(lp),
        "leave": lambda lp: ring0.enclave().leave(lp),
        "trim": lambda page: ring0.emodt(page, PageType.TRIM),
        "remove": lambda page: ring0.on_page(Encls.EREMOVE, page),
    }
    for what, operand in setup:
        attempt(lambda what=what, operand=operand: deeds[what](operand))  # type: ignore[misc]


def in_runs(count: int, run: Callable[[int], int]) -> Outcome:
    """Call a twin until all are done or it raises; it must go on each time."""
    start = 0
    while start < count:
        done = 0

        def once() -> None:
            nonlocal done
            done = run(start)  # noqa: B023 -- called at once

        outcome = attempt(once)
        if outcome is not None:
            return outcome
        assert done >= 1
        start += done
    return None


@given(setup=SETUPS, pages=st.lists(PAGE, min_size=1, max_size=6))
@settings(deadline=None)
def test_a_run_of_eblocks_equals_the_leaves(
    setup: list[tuple[str, int]], pages: list[int]
) -> None:
    one, other = Side.fresh(), Side.fresh()
    for side in (one, other):
        prepare(side, setup)
    machine = one.ring0.machine
    ended = in_runs(len(pages), lambda start: eblock_run(machine, pages[start:]))

    def by_leaf() -> None:
        for page in pages:
            other.ring0.on_page(Encls.EBLOCK, page)

    assert ended == attempt(by_leaf)
    assert one.state() == other.state()


@given(
    setup=SETUPS,
    blocked=st.lists(CHILD, max_size=8),
    operands=st.lists(
        st.tuples(st.one_of(CHILD, CHILD, PAGE), ARRAYS, SLOT), min_size=1, max_size=6
    ),
)
@settings(deadline=None, max_examples=200)
def test_a_run_of_ewbs_equals_the_leaves(
    setup: list[tuple[str, int]],
    blocked: list[int],
    operands: list[tuple[int, int, int]],
) -> None:
    one, other = Side.fresh(), Side.fresh()
    track = [("block", page) for page in blocked] + [("track", 0), ("track", 15)]
    for side in (one, other):
        prepare(side, setup + track)
    outs = [Out(*each) for each in operands]
    machine = one.ring0.machine
    made: list[Image] = []
    images: list[Evicted] = []

    def by_twin(start: int) -> int:
        fresh = ewb_run(machine, outs[start:])
        made.extend(fresh)
        return len(fresh)

    ended = in_runs(len(outs), by_twin)

    def by_leaf() -> None:
        for page, va_page, slot in operands:
            before = other.ring0.machine.snapshot().version
            images.append(other.ring0.ewb(page, va_page, slot))
            if other.ring0.lp.regs.rax:
                raise LeafFailed(SgxError.VA_SLOT_OCCUPIED)
            assert other.ring0.machine.snapshot().version > before

    assert ended == attempt(by_leaf)
    assert one.state() == other.state()
    for ours, image in zip(made, images, strict=False):
        assert (bytes(ours.srcpge), ours.pcmd) == (image.page, image.pcmd)


CHANGES = st.sampled_from([None, None, None, "page", "flags", "rsvd", "mac", "type"])


def change(image: Evicted, what: str | None) -> Evicted:
    """Return an image with a bit changed."""
    page, pcmd = bytearray(image.page), bytearray(image.pcmd)
    if what == "page":
        page[100] ^= 1
    elif what is not None:
        pcmd[{"flags": 0, "type": 1, "rsvd": 80, "mac": 120}[what]] ^= 1
    return Evicted(bytes(page), bytes(pcmd), image.linaddr)


def operands_of(
    side: Side, loads: list[tuple[int, int, int, int | None, str | None]]
) -> tuple[list[In], list[tuple[Evicted, tuple[int, int, int], int | None]]]:
    """Return ELDUs of what was evicted, for the twin and for the leaf."""
    runs, operands = [], []
    for which, page, va_page, secs, what in loads:
        image, _, slot = side.images[which % len(side.images)]
        image = change(image, what)
        where = page, va_page, slot
        runs.append(In(*where, image.page, image.pcmd, image.linaddr, secs))
        operands.append((image, where, secs))
    return runs, operands


@given(
    evict=st.lists(st.sampled_from([0, 1, 2, 3, 5, 6, OTHER_VA, 16]), max_size=6),
    trimmed=st.booleans(),
    loads=st.lists(
        st.tuples(st.integers(0, 5), PAGE, ARRAYS, SECS, CHANGES),
        min_size=1,
        max_size=6,
    ),
)
@settings(deadline=None, max_examples=200)
def test_a_run_of_eldus_equals_the_leaves(
    evict: list[int],
    loads: list[tuple[int, int, int, int | None, str | None]],
    *,
    trimmed: bool,
) -> None:
    one, other = Side.fresh(), Side.fresh()
    for side in (one, other):
        prepare(side, [("trim", 2)] * trimmed + [("block", page) for page in evict])
        prepare(side, [("track", 0), ("track", OTHER_SECS)])
        for slot, page in enumerate(evict):
            try:
                side.images.append((side.ring0.ewb(page, VA, slot), page, slot))
            except (Fault, LeafFailed):
                continue
    if not one.images:
        return
    runs, operands = operands_of(one, loads)
    machine = one.ring0.machine

    def by_twin(start: int) -> int:
        contents = eldu_run(machine, runs[start:])
        for load, content in zip(runs[start:], contents, strict=False):
            if content:
                machine.epc.page(load.page)[:] = content
        return len(contents)

    ended = in_runs(len(runs), by_twin)

    def by_leaf() -> None:
        for image, where, secs in operands:
            other.ring0.eld(Encls.ELDU, image, *where, secs=secs)

    assert ended == attempt(by_leaf)
    assert one.state() == other.state()


# What the twins do without the leaves


def refuse(*_: object) -> None:
    raise AssertionError("a plain page went by the leaf")


def test_plain_pages_never_go_by_the_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    ring0 = Side.fresh().ring0
    machine = ring0.machine
    for leaf in ("eblock", "ewb", "eldu"):
        monkeypatch.setattr(swap, leaf, refuse)
    pages = [1, 2, 3, 4, 5, 6, 7, 8]
    addresses = [machine.epcm[page].enclaveaddress for page in pages]
    contents = [bytes(machine.epc.page(page)) for page in pages]
    assert eblock_run(machine, pages) == 8
    ring0.on_page(Encls.ETRACK, 0)
    outs = [Out(page, VA, page) for page in pages]
    images = ewb_run(machine, outs)
    assert len(images) == 8
    assert ring0.enclave().children == 0
    loads = [
        In(*out, *image, linaddr, 0)
        for out, image, linaddr in zip(outs, images, addresses, strict=True)
    ]
    assert eldu_run(machine, loads) == contents
    assert ring0.enclave().children == 8


def test_a_truncated_image_is_a_mac_that_fails() -> None:
    ring0 = Side.fresh().ring0
    ring0.block(3)
    image = ring0.ewb(3, VA)
    before = ring0.machine.snapshot()
    with pytest.raises(LeafFailed, match="MAC_COMPARE_FAIL"):
        eldu_run(
            ring0.machine, [In(3, VA, 0, image.page[:-1], image.pcmd, image.linaddr, 0)]
        )
    assert ring0.machine.snapshot() == before


def test_a_run_stops_before_a_page_that_is_not_ready() -> None:
    ring0 = Side.fresh().ring0
    assert eblock_run(ring0.machine, [2, 3, 0, 4]) == 2
    ring0.on_page(Encls.ETRACK, 0)
    outs = [Out(2, VA, 0), Out(3, VA, 1), Out(4, VA, 2)]
    assert len(ewb_run(ring0.machine, outs)) == 2
    with pytest.raises(LeafFailed, match="PAGE_NOT_BLOCKED"):
        ewb_run(ring0.machine, outs[2:])


def test_an_empty_run_is_none() -> None:
    ring0 = Side.fresh().ring0
    machine = ring0.machine
    assert eblock_run(machine, []) == 0
    assert not ewb_run(machine, [])
    assert not eldu_run(machine, [])
