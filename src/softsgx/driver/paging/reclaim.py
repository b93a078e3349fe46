"""The reclaimer: which pages leave the EPC when it is full.

Linux's sgx_reclaim_pages, 16 pages at a time, some more than are wanted.  Linux asks
the page tables which pages were used; nobody tells us, so pages are young when they
were loaded since somebody came by last.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Protocol

from softsgx.arch.secinfo import PageType
from softsgx.driver.encl import CLUSTER, CLUSTER_SHIFT, IN, Encl
from softsgx.driver.epc.cgroup import Cgroup
from softsgx.driver.epc.runs import runs_of
from softsgx.driver.paging.pages import Send, is_needed, write_out
from softsgx.machine.epcm import EpcmBits

if TYPE_CHECKING:
    from softsgx.driver.core import Core

NR_TO_SCAN = 16
MORE_PAGES = 64
_SHARE = 16
"""No more than one page in so many goes beyond what is wanted."""
_TURN = 4096
"""Most pages that come back, of anybody's, while one enclave is let be: else four times
what the EPC has, so that each thread inside, which keeps two, finds time for some."""
_SMALL = 2
"""Only who has no more than one page in so many of the EPC can be let be."""

_KINDS = frozenset({PageType.REG, PageType.TCS, PageType.TRIM})
_WINDOW = 256
_MOST_IN_VAIN = 64
"""How often to try in other places when nothing of what was chosen could go."""
_LCG_FACTOR, _LCG_MASK = 6364136223846793005, (1 << 64) - 1
_VALID = int(EpcmBits.VALID)

Cluster = tuple[Encl, int]
"""Pages of an enclave that leave together: numbers CLUSTER * n and those behind it."""


class Space(Protocol):
    """What is to be made room in: pages in all, and how many of them are free."""

    pages: int

    @property
    def free(self) -> int:
        """Pages that nothing is in."""


class Reclaimer:
    """A hand that leaps about the EPC; what was loaded lately it lets be once.

    *send* writes pages out, the driver's unless told; *space*, where room is needed.
    """

    def __init__(
        self, core: "Core", space: Space | None = None, send: Send | None = None
    ):
        self._core = core
        self._space = space or core.section
        self._send = send
        self._hand = 0
        self._seed = 0
        self._favoured = self._left = 0
        """The EID of the enclave that is let be, and what is left of its turn."""
        self.has_held = False
        """A page had to stay that a thread inside needs, when pages last were to go."""
        self._is_crowded = False
        """And so hardly any could."""

    def came(self, encl: Encl, count: int) -> None:
        """Take note that pages of an enclave came back.

        One enclave at a time keeps what it gets for a while: else, where there is far
        too little for all, nobody would ever have together what one instruction needs.
        """
        self._left -= count
        if self._left <= 0:
            turn = min(_TURN, 4 * self._space.pages)
            self._favoured, self._left = encl.eid, turn

    def is_to_wait(self, encl: Encl) -> bool:
        """Say whether a thread is better out of an enclave than given a page.

        Threads inside keep nearly all of the EPC, and another enclave has its turn.
        """
        if not self._is_crowded or encl.eid == self._favoured:
            return False
        self._left -= 1
        self._is_crowded = self._favoured != 0 and self._left > 0
        return self._is_crowded

    def let_nobody_be(self) -> bool:
        """End an enclave's turn; say whether one had it."""
        self._left = 0
        return self._end_turn()

    def _end_turn(self) -> bool:
        had = self._favoured != 0
        self._favoured = 0
        return had

    def reclaim(self, wanted: int) -> None:
        """Evict pages until *wanted* and some more are free, or none can go."""
        space = self._space
        more = min(MORE_PAGES, space.pages // _SHARE)
        goal = max(wanted, min(wanted + more, space.pages // 2))
        while space.free < goal and self._some_out(
            lambda: self._clusters(goal - space.free),
            lambda: bool(space.free and self.has_held),
        ):
            pass
        self._is_crowded = space.free < goal and self.has_held

    def reclaim_within(self, cgroup: Cgroup) -> int:
        """Evict up to 16 pages of a cgroup and all below it; return how many went."""
        return self._some_out(
            lambda: self._charged_to(cgroup, NR_TO_SCAN), lambda: False
        )

    def _some_out(
        self,
        choose: Callable[[], Iterator[tuple[Encl, int]]],
        is_enough: Callable[[], bool],
    ) -> int:
        """Evict what is chosen, once some of it can go; return how many pages went.

        Where nothing can, the turn of who is let be ends, unless there *is enough*.
        """
        while True:
            for _ in range(_MOST_IN_VAIN):
                chosen = list(choose())
                gone = self._write_out(chosen)
                if gone:
                    return gone
                if not chosen:
                    break
            if is_enough() or not self._end_turn():
                return 0

    def _write_out(self, chosen: Iterable[tuple[Encl, int]]) -> int:
        by_encl: dict[Encl, set[int]] = {}
        for encl, index in chosen:
            by_encl.setdefault(encl, set()).add(index)
        return sum(
            write_out(self._core, encl, list(runs_of(indices)), self._send)
            for encl, indices in by_encl.items()
        )

    def _clusters(self, pages: int) -> Iterator[tuple[Encl, int]]:
        """Yield the pages of clusters until some of them, or enough, are in the EPC."""
        chosen: set[Cluster] = set()
        pages = min(pages, MORE_PAGES)
        for cluster in self._turn():
            if pages <= 0 or cluster in chosen:
                return
            chosen.add(cluster)
            encl, first = cluster[0], cluster[1] << CLUSTER_SHIFT
            pages -= encl.whereabouts(first, CLUSTER).count(IN)
            yield from ((encl, index) for index in range(first, first + CLUSTER))

    def _turn(self) -> Iterator[Cluster]:
        """Yield what may go, each time from elsewhere, until two rounds find nothing.

        After one all is old.
        """
        pages = self._core.section.pages
        left = 2 * pages
        while left > 0:
            count = min(_WINDOW, pages - self._hand, left)
            first, count = self._core.section.place(self._hand, count)
            self._hand = (self._hand + count) % pages
            left -= count
            cluster = self._old(first, count)
            if cluster is not None:
                yield cluster
                self._leap()
                left = 2 * pages

    def _charged_to(self, cgroup: Cgroup, pages: int) -> Iterator[tuple[Encl, int]]:
        """Yield the pages of clusters until so many of a cgroup's are among them.

        What is out too, so that neighbours are one run, but nothing of other cgroups.
        """
        cgroups = self._core.cgroups
        for encl, number in self._turn_within(cgroup):
            first = number << CLUSTER_SHIFT
            for index in range(first, first + CLUSTER):
                page = encl.numbered(index)
                if page is not None and not page.evicted:
                    if not cgroups.is_listed(cgroup, page.epc_page):
                        continue
                    pages -= 1
                yield encl, index
                if not pages:
                    return

    def _turn_within(self, cgroup: Cgroup) -> Iterator[Cluster]:
        """Yield what may go of a cgroup's, from somewhere on, in two rounds."""
        self._leap()
        chosen: set[Cluster] = set()
        for _ in range(2):
            spared: set[Cluster] = set()
            for page in self._core.cgroups.listed(cgroup, self._hand):
                owner = self._owner(page)
                if owner is None or _is_young(*owner, spared):
                    continue
                cluster = owner[0], owner[1] >> CLUSTER_SHIFT
                if cluster not in chosen:
                    chosen.add(cluster)
                    yield cluster

    def _leap(self) -> None:
        """Go on somewhere else.

        A program that goes round more than the EPC holds would find every page gone, if
        pages went in the order in which they came.
        """
        self._seed = self._seed * _LCG_FACTOR + 1 & _LCG_MASK
        self._hand = (self._seed >> 33) % self._core.section.pages

    def _old(self, first: int, count: int) -> Cluster | None:
        """Return the first cluster of a window that may go; young ones grow old."""
        states = self._core.machine.epcm.states(first, count)
        spared: set[Cluster] = set()
        for page, state in enumerate(states, first):
            owner = self._owner(page) if state & _VALID else None
            if owner is None or _is_young(*owner, spared):
                continue
            if not is_needed(self._core, *owner):
                return owner[0], owner[1] >> CLUSTER_SHIFT
            if not owner[0].reclaim.is_stuck:
                self.has_held = True
        return None

    def _owner(self, page: int) -> tuple[Encl, int] | None:
        """Return whose page it is and which; None if it may not go, or went."""
        state, secs, linaddr, _ = self._core.machine.epcm.row(page)
        if not state & _VALID or state >> 8 not in _KINDS:
            return None
        encl = self._core.by_secs.get(secs)
        if encl is None or not all(mm.tables.can_evict for mm in encl.mms):
            return None
        if encl.eid == self._favoured and self._is_small(encl):
            return None
        return encl, encl.index(linaddr)

    def _is_small(self, encl: Encl) -> bool:
        return encl.secs_child_cnt <= self._space.pages // _SMALL


def _is_young(encl: Encl, index: int, spared: set[Cluster]) -> bool:
    """Say whether pages near one came back lately; asked once more, they did not.

    *spared*: what was young in this round.
    """
    cluster = index >> CLUSTER_SHIFT
    if cluster in encl.reclaim.young:
        encl.reclaim.young.discard(cluster)
        spared.add((encl, cluster))
        return True
    return (encl, cluster) in spared
