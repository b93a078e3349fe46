"""The hot twins against the leaves: the whole machine and MRENCLAVE must agree."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.errors import LeafFailed, SgxError
from softsgx.arch.faults import Fault, GeneralProtection
from softsgx.arch.leaves import Encls
from softsgx.arch.secinfo import PageType, Secinfo, SecinfoFlags
from softsgx.encls.run import eadd_run, eremove_run
from softsgx.machine.epcm import EpcmEntry, Touched
from softsgx.machine.memory import epc_address
from tests.support import (
    BASE,
    REG_RW,
    SIZE,
    TCS,
    Ring0,
    make_machine,
    make_tcs,
    small_enclave,
)

PAGES = 160


def built() -> Ring0:
    ring0 = Ring0(make_machine(pages=PAGES))
    ring0.ecreate()
    return ring0


def leaf_by_leaf(
    ring0: Ring0, first: int, offset: int, pages: list[bytes], flags: SecinfoFlags
) -> int:
    """Add the pages by the leaves until one faults; return how many went."""
    for done, contents in enumerate(pages):
        try:
            ring0.eadd(first + done, offset + done * PAGE_SIZE, flags, contents)
        except Fault:
            return done
    return len(pages)


def in_one_run(
    ring0: Ring0,
    first: int,
    offset: int,
    pages: list[bytes],
    flags: SecinfoFlags,
    *,
    measured: bool,
) -> int:
    memory = bytearray(b"".join(pages))
    ring0.machine.epc.place(first, len(pages), memoryview(memory), 0)
    secinfo = bytes(Secinfo(flags=flags))
    try:
        return eadd_run(
            ring0.machine, 0, first, len(pages), BASE + offset, secinfo, measured
        )
    except Fault:
        return 0


def regular_pages(seeds: list[int]) -> list[bytes]:
    return [seed.to_bytes(2, "little") * (PAGE_SIZE // 2) for seed in seeds]


FLAGS = st.sampled_from(
    [
        REG_RW,
        SecinfoFlags.of(PageType.REG, 0b101),
        SecinfoFlags.of(PageType.REG, 0b111),
        SecinfoFlags.of(PageType.REG),
        # Not reserved, so measured as they are, and not kept in the EPCM.
        SecinfoFlags.of(PageType.REG, 0b111001),
    ]
)


@given(
    seeds=st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=80),
    first=st.integers(1, 40),
    offset=st.integers(0, 20),
    flags=FLAGS,
    measured=st.booleans(),
)
def test_a_run_equals_its_leaves(
    seeds: list[int], first: int, offset: int, flags: SecinfoFlags, *, measured: bool
) -> None:
    pages = regular_pages(seeds)
    one, other = built(), built()
    offset *= PAGE_SIZE
    assert in_one_run(one, first, offset, pages, flags, measured=measured) == len(pages)
    for done, contents in enumerate(pages):
        other.eadd(first + done, offset + done * PAGE_SIZE, flags, contents)
        if measured:
            other.eextend(first + done)
    assert one.machine.snapshot() == other.machine.snapshot()


@given(
    count=st.integers(1, 24),
    offset=st.integers(SIZE // PAGE_SIZE - 30, SIZE // PAGE_SIZE + 1),
)
def test_a_run_stops_at_the_end_of_elrange(count: int, offset: int) -> None:
    pages = regular_pages(list(range(1, 1 + count)))
    one, other = built(), built()
    offset *= PAGE_SIZE
    went = in_one_run(one, 1, offset, pages, REG_RW, measured=False)
    assert went == leaf_by_leaf(other, 1, offset, pages, REG_RW)
    assert one.machine.epcm.contents() == other.machine.epcm.contents()
    assert one.enclave().children == other.enclave().children
    digest = other.enclave().measurement.digest()
    assert one.enclave().measurement.digest() == digest


@pytest.mark.parametrize("busy", [1, 2, 5])
def test_a_run_stops_before_a_page_in_use(busy: int) -> None:
    ring0 = built()
    ring0.eadd(9 + busy, SIZE - PAGE_SIZE)
    secinfo = bytes(Secinfo(flags=REG_RW))
    assert eadd_run(ring0.machine, 0, 9, 8, BASE, secinfo, measured=False) == busy
    assert ring0.machine.epcm[9 + busy].enclaveaddress == BASE + SIZE - PAGE_SIZE


def test_leftovers_of_an_invalid_entry_do_not_stop_a_run() -> None:
    ring0 = built()
    ring0.machine.epcm[11] = EpcmEntry(valid=False, pt=PageType.REG, r=True)
    secinfo = bytes(Secinfo(flags=REG_RW))
    assert eadd_run(ring0.machine, 0, 9, 8, BASE, secinfo, measured=False) == 8


def test_a_run_raises_the_fault_of_its_first_page() -> None:
    ring0 = built()
    before = ring0.machine.snapshot()
    secinfo = bytes(Secinfo(flags=SecinfoFlags.of(PageType.VA)))
    with pytest.raises(GeneralProtection):
        eadd_run(ring0.machine, 0, 1, 8, BASE, secinfo, measured=True)
    assert ring0.machine.snapshot() == before


@given(bad=st.integers(0, 6), measured=st.booleans())
def test_a_run_of_tcs_pages_equals_its_leaves(bad: int, *, measured: bool) -> None:
    pages = [make_tcs(cssa=at, aep=at, oentry=at) for at in range(5)]
    if bad < len(pages):
        pages[bad] = pages[bad][:-1] + b"\1"
    one, other = built(), built()
    went = in_one_run(one, 1, 0, pages, TCS, measured=measured)
    assert went == min(bad, len(pages))
    for at in range(went):
        other.eadd(1 + at, at * PAGE_SIZE, TCS, pages[at])
        if measured:
            other.eextend(1 + at)
    for at in range(went, len(pages)):
        other.machine.epc.page(1 + at)[:] = pages[at]
    assert one.machine.snapshot() == other.machine.snapshot()


def test_a_run_over_pages_that_lie_in_several_places() -> None:
    pages = regular_pages(list(range(1, 13)))
    one, other = built(), built()
    first, second = bytearray(b"".join(pages[:5])), bytearray(b"".join(pages[5:9]))
    one.machine.epc.place(1, 5, memoryview(first), 0)
    one.machine.epc.place(6, 4, memoryview(second), 0)
    for at in (9, 10, 11):
        one.machine.epc.page(1 + at)[:] = pages[at]
    secinfo = bytes(Secinfo(flags=REG_RW))
    assert eadd_run(one.machine, 0, 1, 12, BASE, secinfo, measured=True) == 12
    for at, contents in enumerate(pages):
        other.eadd(1 + at, at * PAGE_SIZE, REG_RW, contents)
        other.eextend(1 + at)
    assert one.machine.snapshot() == other.machine.snapshot()


def test_a_run_is_published_as_two_touched_runs() -> None:
    ring0 = built()
    ring0.machine.epcm.touched.clear()
    eadd_run(ring0.machine, 0, 1, 8, BASE, bytes(Secinfo(flags=REG_RW)), measured=False)
    state = ring0.machine.epcm[1].state
    assert ring0.machine.epcm.touched == [
        Touched(0, BASE, 1, state),
        Touched(0, BASE + PAGE_SIZE, 7, state),
    ]


# eremove_run


@given(first=st.integers(1, 6), count=st.integers(1, 10))
def test_removing_a_run_equals_its_leaves(first: int, count: int) -> None:
    one, other = small_enclave(), small_enclave()
    eremove_run(one.machine, 0, first, count)
    for page in range(first, first + count):
        other.call(Encls.EREMOVE, rcx=epc_address(page))
    assert one.machine.snapshot() == other.machine.snapshot()


def test_removing_a_run_publishes_what_is_gone() -> None:
    ring0 = small_enclave()
    ring0.machine.epcm.touched.clear()
    eremove_run(ring0.machine, 0, 1, 4)
    assert ring0.machine.epcm.touched == [
        Touched(0, BASE, 3, 0),
        Touched(0, BASE + SIZE // 2, 1, 0),
    ]


def test_removing_a_run_of_an_active_enclave_fails() -> None:
    ring0 = small_enclave()
    ring0.enclave().enter(1)
    before = ring0.machine.snapshot()
    with pytest.raises(LeafFailed) as failed:
        eremove_run(ring0.machine, 0, 1, 4)
    assert failed.value.code == SgxError.ENCLAVE_ACT
    assert ring0.machine.snapshot() == before


def test_removing_free_pages_of_an_active_enclave_is_nothing() -> None:
    ring0 = small_enclave()
    ring0.enclave().enter(1)
    before = ring0.machine.snapshot()
    eremove_run(ring0.machine, 0, 10, 4)
    assert ring0.machine.snapshot() == before


@pytest.mark.parametrize("first", [0, 20], ids=["the SECS", "another enclave's page"])
def test_removing_a_run_takes_no_other_page(first: int) -> None:
    ring0 = small_enclave()
    ring0.ecreate(30)
    ring0.eadd(20, 0, secs=30)
    before = ring0.machine.snapshot()
    with pytest.raises(ValueError, match="another enclave"):
        eremove_run(ring0.machine, 0, first, 2)
    assert ring0.machine.snapshot() == before


def test_removing_tolerates_trimmed_pages() -> None:
    ring0 = small_enclave()
    ring0.emodt(3, PageType.TRIM)
    entry = ring0.machine.epcm[3]
    ring0.machine.epcm[3] = replace(entry, modified=False)
    eremove_run(ring0.machine, 0, 1, 4)
    assert ring0.enclave().children == 0
