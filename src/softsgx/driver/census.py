"""A picture of a machine and its enclaves, for those who watch; nothing changes.

A picture of all enclaves costs time by their number and their TCSs, never by their
pages; only an enclave's map goes through its pages, a piece at a time.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from struct import Struct

from softsgx.arch.addr import PAGE_SHIFT, PAGE_SIZE
from softsgx.arch.secinfo import PageType
from softsgx.arch.tcs import Tcs
from softsgx.driver.core import Core
from softsgx.driver.counts import Counts
from softsgx.driver.encl import Encl, Stretch
from softsgx.machine.crossing import STAGE_INACTIVE
from softsgx.machine.epcm import EpcmBits
from softsgx.machine.fields import TCS_OWNER, TCS_STAGE

_RIGHTS = ((1, "r"), (2, "w"), (4, "x"))
_STATES = (EpcmBits.PENDING, EpcmBits.MODIFIED, EpcmBits.PR, EpcmBits.BLOCKED)
_STAGE = Struct(f"<{TCS_STAGE.offset}xQ")
_TID = 3


@dataclass(frozen=True, slots=True)
class EpcUse:
    """What the pages of an EPC are used for, in bytes; *evicted* are not in it.

    *size* is what CPUID reports; *beyond* is in use though it has no place there.
    *guests* is what virtual machines hold, whatever they do with it.
    """

    size: int
    free: int
    pages: int
    secs: int
    va: int
    guests: int
    evicted: int
    beyond: int


@dataclass(frozen=True, slots=True)
class EnclaveUse:
    """One enclave; sizes in bytes, *resident* and *evicted* of its pages and its SECS.

    *mrenclave* and *mrsigner* are empty before EINIT.  *pids*: whose processes map it.
    """

    eid: int
    pids: tuple[int, ...]
    device: str
    mrenclave: str
    mrsigner: str
    isvprodid: int
    isvsvn: int
    base: int
    size: int
    resident: int
    evicted: int
    va: int
    tcs: int
    inside: int
    debug: bool
    initialized: bool
    counts: Counts


@dataclass(frozen=True, slots=True)
class PageUse:
    """Neighbouring pages of an enclave that are alike; *rights* as EPCM has them.

    *most* is what a mapping of them may ask; *states* are names of EPCM's bits.
    """

    start: int
    size: int
    type: str
    rights: str
    most: str
    states: tuple[str, ...]
    evicted: bool


@dataclass(frozen=True, slots=True)
class TcsUse:
    """A TCS: its frames in use and all, and what went on at it natively.

    *pid* and *tid* are whose thread is inside, 0 if none; *entry* is an offset.
    """

    address: int
    evicted: bool
    pid: int = 0
    tid: int = 0
    cssa: int = 0
    nssa: int = 0
    entry: int = 0


def epc_use(core: Core) -> EpcUse:
    """Count what the EPC is used for."""
    section, encls = core.section, core.enclaves.values()
    used = section.pages - section.free
    pages = sum(encl.secs_child_cnt for encl in encls)
    secs = len(core.by_secs)
    va = sum(len(encl.versions.pages) for encl in encls)
    return EpcUse(
        size=section.reported << PAGE_SHIFT,
        free=min(section.free, max(0, section.reported - used)) << PAGE_SHIFT,
        pages=pages << PAGE_SHIFT,
        secs=secs << PAGE_SHIFT,
        va=va << PAGE_SHIFT,
        guests=used - pages - secs - va << PAGE_SHIFT,
        evicted=sum(_evicted(encl) for encl in encls) << PAGE_SHIFT,
        beyond=section.overcommitted << PAGE_SHIFT,
    )


def total_counts(core: Core, seen: Iterable[EnclaveUse]) -> Counts:
    """Count what happened to all enclaves; *seen* are those that there were just now.

    Of one that ended since, the driver's books have all; nothing is counted twice.
    """
    total = replace(core.past)
    for use in seen:
        if use.eid in core.enclaves:
            total.add(use.counts)
    return total


def enclave_use(encl: Encl) -> EnclaveUse:
    """Describe an enclave that was created."""
    secs = encl.measured
    return EnclaveUse(
        eid=encl.eid,
        pids=tuple(sorted(mm.owner for mm in encl.mms)),
        device="isgx" if encl.by_address else "sgx_enclave",
        mrenclave=secs.mrenclave.hex() if secs else "",
        mrsigner=secs.mrsigner.hex() if secs else "",
        isvprodid=secs.isvprodid if secs else 0,
        isvsvn=secs.isvsvn if secs else 0,
        base=encl.base,
        size=encl.size,
        resident=encl.secs_child_cnt + (encl.secs_slot is None) << PAGE_SHIFT,
        evicted=_evicted(encl) << PAGE_SHIFT,
        va=len(encl.versions.pages) << PAGE_SHIFT,
        tcs=len(encl.tcs),
        inside=_inside(encl),
        debug=encl.debug,
        initialized=encl.initialized,
        counts=encl.counted(),
    )


def page_map(encl: Encl, first: int, most: int) -> tuple[list[PageUse], int | None]:
    """Return at most *most* runs of pages, from page number *first* on.

    And the page number to go on with; None: that was all.
    """
    runs: list[PageUse] = []
    for looked, stretch in enumerate(encl.pages_in_use(first)):
        if looked == most:
            return runs, stretch.index
        run = _run(encl, stretch)
        if runs and _joins(runs[-1], run):
            run = replace(run, start=runs[-1].start, size=runs.pop().size + run.size)
        runs.append(run)
    return runs, None


def tcs_map(
    core: Core, encl: Encl, first: int, most: int
) -> tuple[list[TcsUse], int | None]:
    """Return at most *most* TCSs, from page number *first* on, and how to go on."""
    numbers = sorted(index for index in encl.tcs if index >= first)
    found = [_tcs_use(core, encl, index) for index in numbers[:most]]
    return found, numbers[most] if len(numbers) > most else None


def _evicted(encl: Encl) -> int:
    return encl.evicted - encl.away + (encl.secs_slot is not None)


def _inside(encl: Encl) -> int:
    """Count the threads inside; where one is, the TCS is in the EPC."""
    there = encl.tcs
    if encl.evicted:
        there = {index for index in there if not _is_out(encl, index)}
    stages = (_STAGE.unpack_from(encl.view, index << PAGE_SHIFT)[0] for index in there)
    return sum(stage != STAGE_INACTIVE for stage in stages)


def _is_out(encl: Encl, index: int) -> bool:
    page = encl.numbered(index)
    return page is None or page.evicted


def _tcs_use(core: Core, encl: Encl, index: int) -> TcsUse:
    address = encl.base + (index << PAGE_SHIFT)
    page = encl.numbered(index)
    if page is None or page.evicted:
        return TcsUse(address, evicted=True)
    once = bytes(core.machine.epc.page(page.epc_page))
    taken = TCS_STAGE.read(once) != STAGE_INACTIVE
    tcs = Tcs.from_bytes(once)
    return TcsUse(
        address=address,
        evicted=False,
        pid=TCS_OWNER.read(once) if taken else 0,
        tid=encl.memory.tally(index)[_TID] if taken else 0,
        cssa=tcs.cssa,
        nssa=tcs.nssa,
        entry=tcs.oentry,
    )


def _run(encl: Encl, stretch: Stretch) -> PageUse:
    page, word = stretch.page, EpcmBits(stretch.word & 0xFF)
    return PageUse(
        start=encl.base + (stretch.index << PAGE_SHIFT),
        size=stretch.count * PAGE_SIZE,
        type=PageType(page.type).name,
        rights=_letters(word),
        most=_letters(page.vm_max_prot),
        states=tuple(str(bit.name) for bit in _STATES if word & bit),
        evicted=page.evicted,
    )


def _letters(bits: int) -> str:
    return "".join(letter if bits & bit else "-" for bit, letter in _RIGHTS)


def _joins(one: PageUse, two: PageUse) -> bool:
    return replace(one, start=two.start, size=two.size) == two and (
        one.start + one.size == two.start
    )
