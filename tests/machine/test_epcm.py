from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.secinfo import PageType, SecinfoFlags
from softsgx.machine.epcm import Epcm, EpcmBits, EpcmEntry, Touched

BASE = 0x7000_0000_0000

ENTRIES = st.builds(
    EpcmEntry,
    valid=st.booleans(),
    r=st.booleans(),
    w=st.booleans(),
    x=st.booleans(),
    pt=st.integers(0, 4),
    enclavesecs=st.integers(0, 3),
    enclaveaddress=st.integers(0, 7).map(lambda n: BASE + n * PAGE_SIZE),
    pending=st.booleans(),
    modified=st.booleans(),
    blocked=st.booleans(),
    pr=st.booleans(),
    epoch=st.integers(0, 9),
)


@given(entry=ENTRIES, page=st.integers(0, 2000))
def test_an_entry_comes_back_as_it_was(entry: EpcmEntry, page: int) -> None:
    epcm = Epcm()
    epcm[page] = entry
    assert epcm[page] == entry
    assert epcm[page + 1] == EpcmEntry()


def test_the_state_word_has_the_bits_of_secinfo() -> None:
    entry = EpcmEntry(
        valid=True, r=True, x=True, pt=PageType.REG, pending=True, pr=True, blocked=True
    )
    low = SecinfoFlags.R | SecinfoFlags.X | SecinfoFlags.PENDING | SecinfoFlags.PR
    assert entry.state == low | EpcmBits.VALID | EpcmBits.BLOCKED | PageType.REG << 8
    assert EpcmEntry(w=True, modified=True).state == 0b10010
    assert EpcmEntry().state == 0


def test_a_run_rises_by_a_page() -> None:
    epcm = Epcm()
    entry = EpcmEntry(
        valid=True, r=True, pt=PageType.REG, enclavesecs=3, enclaveaddress=BASE
    )
    epcm.fill(100, 2000, entry)
    for at in (0, 1, 411, 412, 1999):
        expected = replace(entry, enclaveaddress=BASE + at * PAGE_SIZE)
        assert epcm[100 + at] == expected
    assert epcm[99] == epcm[2100] == EpcmEntry()
    assert epcm.touched == [Touched(3, BASE, 2000, entry.state)]


def published(epcm: Epcm) -> dict[tuple[int, int], int]:
    """Return what a reader of *touched* knows: a state for each enclave and address."""
    states: dict[tuple[int, int], int] = {}
    for touched in epcm.touched:
        for at in range(touched.pages):
            address = touched.enclaveaddress + at * PAGE_SIZE
            states[touched.enclavesecs, address] = touched.state
    return {key: state for key, state in states.items() if state}


WRITES = st.lists(
    st.tuples(st.integers(0, 7), st.integers(1, 4), ENTRIES), min_size=1, max_size=12
)


@given(writes=WRITES)
def test_a_reader_of_touched_knows_every_page(
    writes: list[tuple[int, int, EpcmEntry]],
) -> None:
    epcm = Epcm()
    for first, count, drawn in writes:
        # Each page has one address in this test, so that no two are at the same.
        entry = replace(drawn, enclaveaddress=BASE + first * PAGE_SIZE)
        if count == 1:
            epcm[first] = entry
        else:
            epcm.fill(first, count, entry)
    entries = (epcm[page] for page in range(16))
    assert published(epcm) == {
        (entry.enclavesecs, entry.enclaveaddress): entry.state
        for entry in entries
        if entry.valid and entry.pt not in (PageType.SECS, PageType.VA)
    }


@given(first=ENTRIES, second=ENTRIES)
def test_one_page_is_written_as_a_run_of_one(
    first: EpcmEntry, second: EpcmEntry
) -> None:
    one, run = Epcm(), Epcm()
    for entry in (first, second):
        one[5] = entry
        run.fill(5, 1, entry)
    assert one.contents() == run.contents()
    assert one.touched == run.touched


def test_a_page_that_goes_is_published_with_state_0() -> None:
    epcm = Epcm()
    entry = EpcmEntry(valid=True, pt=PageType.TCS, enclavesecs=2, enclaveaddress=BASE)
    epcm[5] = entry
    epcm.touched.clear()
    epcm[5] = EpcmEntry()
    assert epcm.touched == [Touched(2, BASE, 1, 0)]


def test_a_page_that_changes_hands_is_published_twice() -> None:
    epcm = Epcm()
    entry = EpcmEntry(valid=True, pt=PageType.REG, enclavesecs=2, enclaveaddress=BASE)
    epcm[5] = entry
    epcm.touched.clear()
    epcm[5] = replace(entry, enclavesecs=3)
    assert epcm.touched == [Touched(2, BASE, 1, 0), Touched(3, BASE, 1, entry.state)]


def test_pages_without_an_address_are_not_published() -> None:
    epcm = Epcm()
    for page_type in (PageType.SECS, PageType.VA):
        epcm[5] = EpcmEntry(valid=True, pt=page_type)
        epcm[5] = EpcmEntry()
    assert epcm.touched == []


def test_a_run_that_goes_is_published_in_stretches() -> None:
    epcm = Epcm()
    entry = EpcmEntry(valid=True, pt=PageType.REG, enclavesecs=2, enclaveaddress=BASE)
    epcm.fill(0, 4, entry)
    epcm.fill(4, 2, replace(entry, enclaveaddress=BASE + 9 * PAGE_SIZE))
    epcm.fill(7, 2, replace(entry, enclavesecs=3))
    epcm.touched.clear()
    epcm.fill(0, 10, EpcmEntry())
    assert epcm.touched == [
        Touched(2, BASE, 4, 0),
        Touched(2, BASE + 9 * PAGE_SIZE, 2, 0),
        Touched(3, BASE, 2, 0),
    ]
    assert epcm.contents() == {}


def test_columns_can_be_read_by_the_run() -> None:
    epcm = Epcm()
    entry = EpcmEntry(valid=True, pt=PageType.REG, enclavesecs=2, enclaveaddress=BASE)
    epcm.fill(510, 4, entry)
    assert list(epcm.states(509, 6)) == [0, *[entry.state] * 4, 0]
    assert list(epcm.owners(510, 2)) == [2, 2]
    assert list(epcm.addresses(511, 2)) == [BASE + PAGE_SIZE, BASE + 2 * PAGE_SIZE]


def test_who_shares_an_epcm_has_notes_of_its_own() -> None:
    epcm = Epcm()
    other = epcm.shared()
    entry = EpcmEntry(valid=True, pt=PageType.REG, enclavesecs=1, enclaveaddress=BASE)
    other[7] = entry
    assert epcm[7] == entry
    assert (epcm.touched, other.touched) == ([], [Touched(1, BASE, 1, entry.state)])
