"""What the processor knows of each page.  SDM: "Enclave Page Cache Map (EPCM)"."""

from array import array
from dataclasses import dataclass
from enum import IntFlag
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

from softsgx.arch.addr import PAGE_SIZE
from softsgx.machine.columns import CHUNK, CHUNK_SHIFT, Columns

TRACKED = -1
"""An epoch before all others, of a page that was loaded: it has no translations."""


class EpcmBits(IntFlag):
    """Bits 7:0 of a state word; bits 15:8 are the page type.

    The low six are those of SECINFO.FLAGS.
    """

    R = 1 << 0
    W = 1 << 1
    X = 1 << 2
    PENDING = 1 << 3
    MODIFIED = 1 << 4
    PR = 1 << 5
    VALID = 1 << 6
    BLOCKED = 1 << 7


@dataclass(frozen=True, kw_only=True, slots=True)
class EpcmEntry:
    """One page: state, permissions, type, owner (its SECS' page) and address.

    *epoch* is the owner's tracking epoch when the page was last blocked, restricted
    or given a type, or TRACKED; the manual leaves its form to the processor.
    """

    valid: bool = False
    r: bool = False
    w: bool = False
    x: bool = False
    pt: int = 0
    enclavesecs: int = 0
    enclaveaddress: int = 0
    pending: bool = False
    modified: bool = False
    blocked: bool = False
    pr: bool = False
    epoch: int = 0

    @property
    def state(self) -> int:
        """The state word: 16 bits, 0 for an invalid entry without leftovers."""
        return (
            self.r
            | self.w << 1
            | self.x << 2
            | self.pending << 3
            | self.modified << 4
            | self.pr << 5
            | self.valid << 6
            | self.blocked << 7
            | self.pt << 8
        )


class Touched(NamedTuple):
    """A run of an enclave's pages whose entries changed to *state*."""

    enclavesecs: int
    enclaveaddress: int
    pages: int
    state: int


Row = tuple[int, int, int, int]
"""An entry's state word, enclavesecs, enclaveaddress and epoch."""

_NO_ROW = (0, 0, 0, 0)
_IN_CHUNK = CHUNK - 1
_STATE, _SECS, _ADDRESS = range(3)
_VALID = int(EpcmBits.VALID)


class Epcm:
    """The entries of all EPC pages; what changed is noted in *touched*.

    The driver drains *touched* after each operation and publishes it, so that no
    leaf can forget to.  SECS and VA pages have no address and are not noted.
    """

    def __init__(self) -> None:
        self._columns = Columns("HQQq")
        self.touched: list[Touched] = []

    def shared(self) -> "Epcm":
        """Return the same entries for another driver, with notes of its own."""
        other = Epcm()
        other._columns = self._columns
        return other

    def __getitem__(self, page: int) -> EpcmEntry:
        return _entry(*self.row(page))

    def __setitem__(self, page: int, entry: EpcmEntry) -> None:
        owner, linaddr = entry.enclavesecs, entry.enclaveaddress
        self.set_row(page, (entry.state, owner, linaddr, entry.epoch))

    def row(self, page: int) -> Row:
        """Return an entry as its state word, enclavesecs, enclaveaddress and epoch."""
        chunk = self._columns.chunks.get(page >> CHUNK_SHIFT)
        if chunk is None:
            return _NO_ROW
        # Unrolled: a loop over the columns takes four times as long.
        states, owners, addresses, epochs = chunk
        at = page & _IN_CHUNK
        return states[at], owners[at], addresses[at], epochs[at]

    def set_row(self, page: int, row: Row) -> None:
        """Write an entry: as fill() of one page, in a fifth of its time."""
        chunk = self._columns.chunks.get(page >> CHUNK_SHIFT)
        new, owner, linaddr, epoch = row
        is_seen = has_address(new)
        if chunk is None:
            self._columns.set(page, row)
        else:
            states, owners, addresses, epochs = chunk
            at = page & _IN_CHUNK
            old, secs, address = states[at], owners[at], addresses[at]
            is_same = is_seen and secs == owner and address == linaddr
            if not is_same and has_address(old):
                self.touched.append(Touched(secs, address, 1, 0))
            states[at], owners[at] = new, owner
            addresses[at], epochs[at] = linaddr, epoch
            if not new:
                self._columns.prune(page >> CHUNK_SHIFT)
        if is_seen:
            self.touched.append(Touched(owner, linaddr, 1, new))

    def fill(self, first: int, count: int, entry: EpcmEntry) -> None:
        """Write a run of entries; enclaveaddress rises by 4096 from page to page."""
        owner, linaddr = entry.enclavesecs, entry.enclaveaddress
        self.fill_row(first, count, (entry.state, owner, linaddr, entry.epoch))

    def fill_row(self, first: int, count: int, row: Row) -> None:
        """Write a run of entries as fill does, given as `row` gives the first."""
        if count == 1:
            self.set_row(first, row)
            return
        state, owner, linaddr, _ = row
        is_seen = has_address(state)
        self._note_losses(first, count, row)
        step = PAGE_SIZE if is_seen else 0
        self._columns.fill(first, count, row, (0, 0, step, 0))
        if is_seen:
            self.touched.append(Touched(owner, linaddr, count, state))

    def alike(self, first: int, count: int) -> tuple[Row, int]:
        """Return an entry, and how many of *count* are its like from it on.

        That is in all but their addresses, which rise by 4096.
        """
        row = self.row(first)
        chunk = self._columns.chunks.get(first >> CHUNK_SHIFT)
        if count == 1 or chunk is None:
            return row, 1
        at = first & _IN_CHUNK
        state, owner, linaddr, epoch = row
        rest = (column[at + 1 : at + count] for column in chunk)
        stop = 1
        for one in zip(*rest, strict=True):
            if one != (state, owner, linaddr + stop * PAGE_SIZE, epoch):
                break
            stop += 1
        return row, stop

    def states(self, first: int, count: int) -> "array[int]":
        """Return the state words of a run of pages."""
        return self._columns.column(_STATE, first, count)

    def owners(self, first: int, count: int) -> "array[int]":
        """Return the enclavesecs of a run of pages."""
        return self._columns.column(_SECS, first, count)

    def addresses(self, first: int, count: int) -> "array[int]":
        """Return the enclaveaddress of a run of pages."""
        return self._columns.column(_ADDRESS, first, count)

    def contents(self) -> dict[int, EpcmEntry]:
        """Return each entry that is not all zero, for a snapshot."""
        return {page: self[page] for page in self._columns.rows()}

    def used(self, first: int, count: int) -> list[int]:
        """Return, in order, the pages of a run whose entries are not all zero."""
        return list(self._columns.rows_in(first, count))

    def _note_losses(self, first: int, count: int, row: Row) -> None:
        """Note with state 0 the addresses that the coming write takes away."""
        states = self.states(first, count)
        if not any(states):
            return
        owners = self.owners(first, count)
        addresses = self.addresses(first, count)
        state, owner, linaddr, _ = row
        stays = has_address(state)
        if not stays and _is_one_stretch(states, owners, addresses):
            self.touched.append(Touched(owners[0], addresses[0], count, 0))
            return
        lost = [
            at
            for at, old in enumerate(states)
            if has_address(old)
            and not (
                stays
                and owners[at] == owner
                and addresses[at] == linaddr + at * PAGE_SIZE
            )
        ]
        for start, length in _stretches(lost, owners, addresses):
            self.touched.append(Touched(owners[start], addresses[start], length, 0))


@lru_cache(maxsize=1024)
def _entry(state: int, secs: int, address: int, epoch: int) -> EpcmEntry:
    """Read an entry.  A leaf asks for the same few again and again."""
    # Shifts, as in EpcmEntry.state: an IntFlag's & costs a microsecond, eight here.
    return EpcmEntry(
        valid=bool(state >> 6 & 1),
        r=bool(state & 1),
        w=bool(state >> 1 & 1),
        x=bool(state >> 2 & 1),
        pt=state >> 8,
        enclavesecs=secs,
        enclaveaddress=address,
        pending=bool(state >> 3 & 1),
        modified=bool(state >> 4 & 1),
        blocked=bool(state >> 7 & 1),
        pr=bool(state >> 5 & 1),
        epoch=epoch,
    )


def has_address(state: int) -> bool:
    """Say whether a state word is of a valid page with an enclave address."""
    return bool(state & _VALID) and state >> 8 not in (0, 3)


def _is_one_stretch(
    states: "array[int]", owners: "array[int]", addresses: "array[int]"
) -> bool:
    """Say whether all rows are one enclave's pages, one after the other."""
    ramp = range(addresses[0], addresses[0] + len(states) * PAGE_SIZE, PAGE_SIZE)
    return (
        all(has_address(state) for state in set(states))
        and len(set(owners)) == 1
        and addresses == array(addresses.typecode, ramp)
    )


def _stretches(
    rows: list[int], owners: "array[int]", addresses: "array[int]"
) -> list[tuple[int, int]]:
    """Join rows with one owner and rising addresses: first row, number of rows."""
    cuts = [
        at
        for at, (one, two) in enumerate(pairwise(rows), start=1)
        if owners[two] != owners[one] or addresses[two] != addresses[one] + PAGE_SIZE
    ]
    edges = [0, *cuts, len(rows)]
    return [(rows[a], b - a) for a, b in pairwise(edges) if b > a]
