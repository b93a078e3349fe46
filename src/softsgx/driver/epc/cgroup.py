"""The EPC cgroup: the resource sgx_epc of Linux's misc controller.

A page is charged to the cgroup of the task that had it allocated, and so to all above,
from then on until it is free, whoever uses it meanwhile.  After the series of 2024; see
decision record 39.
"""

import errno
from _thread import get_ident
from collections.abc import Iterator
from typing import TypeVar

from softsgx.arch.addr import PAGE_SHIFT
from softsgx.driver.epc.hierarchy import Hierarchy, Member, OneCgroup
from softsgx.driver.epc.runs import same_run
from softsgx.driver.errnos import refuse
from softsgx.machine.columns import CHUNK, CHUNK_SHIFT, Columns

NO_LIMIT = (1 << 64) - 1
"""A limit, in bytes, that reads `max`."""

_LISTED = 1
_FIRST_SWEEP = 64

_T = TypeVar("_T")


class Cgroup:
    """One cgroup; *usage* and *peak* are in pages and of all below it too.

    *max* is in bytes, as it was written.  *events* counts how often *max* was met, here
    or below; *events_local* here.  *line* is the cgroup and all above it.
    """

    def __init__(
        self, path: str, number: int, parent: "Cgroup | None" = None, ident: int = 0
    ):
        self.path = path
        self.number = number
        self.ident = ident
        self.parent = parent
        self.line: tuple[Cgroup, ...] = (self, *(parent.line if parent else ()))
        self.max = NO_LIMIT
        self.usage = self.peak = 0
        self.events = self.events_local = 0
        self.children: set[Cgroup] = set()
        self.is_dead = False
        """Its directory is gone; it is kept for its pages."""
        self.turn = 0
        self.chunks: dict[int, int] = {}
        """Pages of its own that can be evicted: how many, by their number >> 9."""

    @property
    def room(self) -> int:
        """Pages that can be charged to it before a limit is met."""
        return min(one.left for one in self.line)

    @property
    def left(self) -> int:
        """Pages up to its own limit; none where that was lowered since."""
        return max(0, (self.max >> PAGE_SHIFT) - self.usage)

    @property
    def most(self) -> int:
        """Pages that it can ever have, as limits stand."""
        return min(one.max for one in self.line) >> PAGE_SHIFT

    def full(self, count: int) -> "Cgroup | None":
        """Return the cgroup whose limit *count* more pages meet first; None: none's."""
        first, least = None, count
        for one in self.line:
            if one.max != NO_LIMIT:
                left = one.left
                if left < least:
                    first, least = one, left
        return first

    def meet_limit(self) -> None:
        """Count that its limit was met; the root of all counts nothing but its own."""
        self.events_local += 1
        for one in self.line[:-1]:
            one.events += 1

    def subtree(self) -> Iterator["Cgroup"]:
        """Yield it and all below it that have pages."""
        left = [self]
        while left:
            one = left.pop()
            yield one
            left += [child for child in one.children if child.usage]

    def change(self, pages: int) -> None:
        """Charge pages to the whole line, or take them off it."""
        for one in self.line:
            usage = one.usage = one.usage + pages
            one.peak = max(one.peak, usage)

    def list_run(self, first: int, count: int, sign: int) -> None:
        """Enter EPC pages as ones that can be evicted, or strike them out."""
        at, end = first, first + count
        while at < end:
            chunk = at >> CHUNK_SHIFT
            stop = min(end, (chunk + 1) << CHUNK_SHIFT)
            self.list_in(chunk, sign * (stop - at))
            at = stop

    def list_in(self, chunk: int, pages: int) -> None:
        """Enter, or strike out, so many pages of one chunk of 512."""
        left = self.chunks.get(chunk, 0) + pages
        if left:
            self.chunks[chunk] = left
        else:
            del self.chunks[chunk]


class EpcCgroups:
    """All cgroups that EPC pages were ever charged to, or that somebody asked about.

    *root* is all of the machine.  Where *hierarchy* begins below it, as in a container,
    the cgroup of the path / is a child of it.
    """

    def __init__(self, hierarchy: Hierarchy | None = None):
        self._hierarchy = hierarchy or OneCgroup()
        self.root = Cgroup("/", 1)
        self._numbered: list[Cgroup | None] = [None, self.root]
        self._unused: list[int] = []
        self._by_path: dict[str, Cgroup] = {}
        self._sweep_at = _FIRST_SWEEP
        self._charged = Columns("I")
        self._members: dict[int, Member | None] = {}
        self._current: dict[int, Cgroup] = {}
        self._top = self.root
        if not self._hierarchy.has_root:
            self._top = self._child("/", self.root, 0)

    # ---- which cgroup ----

    def enter(self, member: Member | None) -> None:
        """Charge what this thread allocates from now on to the cgroup of a member.

        None: to the machine.  Call it for each call of a program's.
        """
        me = get_ident()
        self._members[me] = member
        self._current.pop(me, None)

    def look(self) -> Cgroup:
        """Return the cgroup that the member is in now; from here on it pays."""
        me = get_ident()
        member = self._members.get(me)
        found = self._current[me] = member.cgroup(self) if member else self.root
        return found

    def current(self) -> Cgroup:
        """Return the cgroup that this thread's allocations are charged to."""
        found = self._current.get(get_ident())
        return self.look() if found is None or found.is_dead else found

    def find(self, path: str) -> Cgroup:
        """Return the cgroup of a path, as /proc/PID/cgroup has it.

        A directory that was removed and made anew is another cgroup.  What is outside
        of the hierarchy that we see is the machine's.
        """
        if path == "/.." or path.startswith("/../"):
            return self.root
        known = self._by_path.get(path)
        if known and not known.is_dead and known.ident == self._hierarchy.ident(path):
            return known
        at, prefix = self._top, ""
        for name in filter(None, path.split("/")):
            prefix += f"/{name}"
            at = self._enter_child(at, prefix)
        if len(self._by_path) > self._sweep_at:
            self.sweep()
        return at

    def all(self) -> Iterator[tuple[str, Cgroup]]:
        """Yield the cgroups that there are, with their paths, / among them."""
        self.sweep()
        yield "/", self._top
        yield from sorted(self._by_path.items())

    def sweep(self) -> None:
        """Forget the cgroups whose directories are gone, but for what they hold."""
        for path, cgroup in list(self._by_path.items()):
            is_idle = not (cgroup.ident or cgroup.usage) and cgroup.max == NO_LIMIT
            if is_idle or self._hierarchy.ident(path) != cgroup.ident:
                self._bury(path, cgroup)
        self._sweep_at = max(_FIRST_SWEEP, 2 * len(self._by_path))

    def _enter_child(self, parent: Cgroup, path: str) -> Cgroup:
        known = self._by_path.get(path)
        ident = self._hierarchy.ident(path)
        if known and not known.is_dead:
            if known.parent is parent and known.ident == ident:
                return known
            self._bury(path, known)
        child = self._by_path[path] = self._child(path, parent, ident)
        return child

    def _child(self, path: str, parent: Cgroup, ident: int) -> Cgroup:
        number = self._unused.pop() if self._unused else len(self._numbered)
        child = Cgroup(path, number, parent, ident)
        if number == len(self._numbered):
            self._numbered.append(child)
        else:
            self._numbered[number] = child
        parent.children.add(child)
        return child

    def _bury(self, path: str, cgroup: Cgroup) -> None:
        del self._by_path[path]
        cgroup.is_dead = True
        self._drop_empty(cgroup)

    def _drop_empty(self, cgroup: Cgroup) -> None:
        """Forget what is dead and holds nothing, and so on upwards."""
        for one in cgroup.line:
            if not one.is_dead or one.usage or one.children or one.parent is None:
                return
            one.parent.children.discard(one)
            self._numbered[one.number] = None
            self._unused.append(one.number)

    # ---- charges ----

    def charge(self, first: int, count: int, *, listed: bool) -> None:
        """Charge EPC pages to the current cgroup, if *listed* as ones that can leave.

        The caller has asked for room.
        """
        cgroup = self.current()
        value = cgroup.number << 1 | listed
        chunk = self._charged.chunks.get(first >> CHUNK_SHIFT)
        if count == 1 and chunk is not None:
            # Paging charges page by page.
            chunk[0][first % CHUNK] = value
        else:
            self._charged.fill(first, count, (value,), (0,))
        if listed:
            cgroup.list_run(first, count, 1)
        cgroup.change(count)

    def uncharge(self, first: int, count: int) -> None:
        """Take EPC pages off the cgroups that they are charged to."""
        if count == 1:
            number = first >> CHUNK_SHIFT
            column = self._charged.chunks[number][0]
            cgroup = self._uncharge_run(column[first % CHUNK], first, 1)
            column[first % CHUNK] = 0
            if number not in cgroup.chunks:
                self._charged.prune(number)
            return
        values = self._charged.column(0, first, count)
        at = 0
        while at < count:
            size = same_run(values, at, count)
            self._uncharge_run(values[at], first + at, size)
            at += size
        self._charged.fill(first, count, (0,), (0,))

    def _uncharge_run(self, value: int, first: int, count: int) -> Cgroup:
        cgroup = self._numbered[value >> 1]
        if cgroup is None:
            raise AssertionError(f"EPC page {first} is charged to nobody")
        if value & _LISTED:
            cgroup.list_run(first, count, -1)
        cgroup.change(-count)
        if cgroup.is_dead:
            self._drop_empty(cgroup)
        return cgroup

    def check_room(self, count: int) -> None:
        """Refuse with ENOMEM what would take the current cgroup above a limit."""
        full = self.current().full(count)
        if full is not None:
            used = full.usage << PAGE_SHIFT
            why = f"cgroup {full.path}: {used} of {full.max} bytes in use"
            raise refuse(errno.ENOMEM, why)

    def is_listed(self, cgroup: Cgroup, page: int) -> bool:
        """Say whether an EPC page that can be evicted is a cgroup's, or one's below."""
        (value,) = self._charged.get(page)
        owner = self._numbered[value >> 1]
        return bool(value & _LISTED and owner and cgroup in owner.line)

    def listed(self, cgroup: Cgroup, place: int) -> Iterator[int]:
        """Yield the EPC pages of a cgroup and all below it that can be evicted.

        The cgroups have the first turn in turns; *place* says where in one to begin.
        """
        owners = [one for one in cgroup.subtree() if one.chunks]
        if not owners:
            return
        cgroup.turn += 1
        for owner in _turned(owners, cgroup.turn):
            value = owner.number << 1 | _LISTED
            for chunk in _turned(list(owner.chunks), place >> CHUNK_SHIFT):
                first = chunk << CHUNK_SHIFT
                values = self._charged.column(0, first, CHUNK)
                pages = [first + row for row, one in enumerate(values) if one == value]
                yield from _turned(pages, place)


def _turned(items: list[_T], by: int) -> list[_T]:
    """Return a list that begins somewhere in the midst, and ends before there."""
    at = by % len(items)
    return items[at:] + items[:at]
