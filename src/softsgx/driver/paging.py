"""Pages of enclaves, out of the EPC to their backing store and back.

Linux's sgx_encl_ewb and sgx_encl_eldu.  A page that is out keeps its EPCM word here, as
it will be again; what agents are shown is a page that is not there.
"""

import errno
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import groupby
from typing import TYPE_CHECKING

from softsgx.arch.addr import PAGE_SHIFT, PAGE_SIZE
from softsgx.arch.errors import SgxError
from softsgx.arch.faults import Fault
from softsgx.arch.pageinfo import Pcmd
from softsgx.arch.tcs import Tcs
from softsgx.driver.encl import Encl, EnclPage
from softsgx.driver.errnos import refuse
from softsgx.driver.protocols import Place
from softsgx.encls.swap import In, Out
from softsgx.machine.crossing import STAGE_INACTIVE
from softsgx.machine.fields import TCS_STAGE

if TYPE_CHECKING:
    from softsgx.driver.core import Core

Run = tuple[int, int]
"""First page of an enclave, from its base, and number of pages."""


def write_out(core: "Core", encl: Encl, indices: list[int]) -> int:
    """Evict those of an enclave's pages that are in the EPC; return how many went."""
    core.absorb()
    indices = [index for index in indices if _is_in(encl, index)]
    runs = list(_runs(indices))
    for first, count in runs:
        encl.memory.publish(first, bytes(2 * count))
    gone: list[int] = []
    if _is_protected(encl, runs):
        stay = _entered(core, encl)
        leaving = _runs(n for n in indices if not any(n in pages for pages in stay))
        gone += (n for run in leaving for n in _write_out_run(core, encl, run))
    core.machine.epcm.touched.clear()
    for first, count in _runs(gone):
        encl.memory.zap(first << PAGE_SHIFT, count << PAGE_SHIFT)
    for mm in encl.mms:
        mm.tables.unprotect(encl, runs)
    for index in set(indices).difference(gone):
        encl.memory.publish(index, encl.shown_words(index, 1))
    if not encl.secs_child_cnt and encl.initialized:
        _write_out_secs(core, encl)
    return len(gone)


def load_page(core: "Core", encl: Encl, index: int) -> EnclPage:
    """Bring a page back if it is out; ENOMEM without room, EIO if it is not as it was.

    There is such a page.
    """
    page = encl.numbered(index)
    if page is None:
        raise AssertionError(f"no page {index:#x}")
    if not page.evicted:
        return page
    secs, epc_page = alloc_child(core, encl)
    offset = index << PAGE_SHIFT
    core.machine.epc.place(epc_page, 1, encl.view, offset)
    try:
        _eldu(core, encl, epc_page, secs, (index, encl.base + offset, page.epc_page))
    except OSError:
        core.take_back(epc_page, 1)
        raise
    loaded = replace(page, epc_page=epc_page, evicted=False)
    encl.set_run(index, 1, loaded)
    encl.secs_child_cnt += 1
    encl.evicted -= 1
    encl.counts.reloads += 1
    core.loaded(epc_page)
    return loaded


def alloc_child(core: "Core", encl: Encl) -> tuple[int, int]:
    """Return the EPC page of an enclave's SECS, which may come back, and a free one."""
    encl.is_loading = True
    try:
        return load_secs(core, encl), core.alloc()
    finally:
        encl.is_loading = False


def load_secs(core: "Core", encl: Encl) -> int:
    """Return the EPC page of an enclave's SECS, which it brings back if it is out."""
    if encl.secs_slot is None:
        return encl.secs
    epc_page = core.alloc(listed=False)
    try:
        place = (encl.size >> PAGE_SHIFT, 0, encl.secs_slot)
        _eldu(core, encl, epc_page, None, place)
    except OSError:
        core.section.give(epc_page)
        raise
    encl.secs, encl.secs_slot = epc_page, None
    core.by_secs[epc_page] = encl
    return epc_page


def _runs(indices: Iterable[int]) -> Iterator[Run]:
    """Join neighbours."""
    for _, group in groupby(
        enumerate(sorted(indices)), key=lambda one: one[1] - one[0]
    ):
        numbers = [index for _, index in group]
        yield numbers[0], len(numbers)


def _is_in(encl: Encl, index: int) -> bool:
    page = encl.numbered(index)
    return page is not None and not page.evicted


def _is_protected(encl: Encl, runs: list[Run]) -> bool:
    """Take the right to write from all processes; False: one of them keeps it."""
    try:
        for mm in encl.mms:
            mm.tables.protect(encl, runs)
    except OSError:
        return False
    return True


def _write_out_run(core: "Core", encl: Encl, run: Run) -> list[int]:
    """Evict neighbours that no process can write any more; return which went."""
    first, count = run
    found = [encl.numbered(index) for index in range(first, first + count)]
    pages = [page for page in found if page is not None]
    done = core.kernel.eblock_run([page.epc_page for page in pages])
    slots = _ewb(core, encl, first, [page.epc_page for page in pages[:done]])
    for index, (page, slot) in enumerate(zip(pages, slots, strict=False), first):
        core.take_back(page.epc_page, 1)
        encl.set_run(index, 1, replace(page, epc_page=slot, evicted=True))
    encl.secs_child_cnt -= len(slots)
    encl.evicted += len(slots)
    encl.counts.evictions += len(slots)
    return list(range(first, first + len(slots)))


def _entered(core: "Core", encl: Encl) -> list[range]:
    """Return the pages that an exit of a thread inside will write.

    A thread that enters looks for them after it took its TCS: one of us two is first.
    """
    stay: list[range] = []
    for index in encl.tcs:
        page = encl.numbered(index)
        if page is None or page.evicted:
            continue
        raw = core.machine.epc.page(page.epc_page)
        if TCS_STAGE.read(raw) == STAGE_INACTIVE:
            continue
        tcs = Tcs.from_bytes(bytes(raw))
        first = (tcs.ossa >> PAGE_SHIFT) + tcs.cssa * encl.ssaframesize
        stay += [range(index, index + 1), range(first, first + encl.ssaframesize)]
    return stay


def _write_out_secs(core: "Core", encl: Encl) -> None:
    if encl.is_loading or encl.secs_slot is not None:
        return
    for slot in _ewb(core, encl, encl.size >> PAGE_SHIFT, [encl.secs]):
        del core.by_secs[encl.secs]
        core.section.give(encl.secs)
        encl.secs_slot = slot


def _ewb(core: "Core", encl: Encl, first: int, epc_pages: list[int]) -> list[int]:
    """Write neighbours out, from *first* on; return the slots of those that went."""
    count = len(epc_pages)
    backing = core.backing(encl)
    contents, pcmds = _places(encl, first, count)
    try:
        backing.reserve(contents, pcmds)
    except OSError:
        return []
    outside = memoryview(bytearray(contents[1] + pcmds[1]))
    images, codes = outside[: contents[1]], outside[contents[1] :]
    slots = [encl.versions.take() for _ in epc_pages]
    outs = [
        Out(page, *encl.versions.place(slot), *_cells(images, codes, at))
        for at, (page, slot) in enumerate(zip(epc_pages, slots, strict=True))
    ]
    done = _ewb_tracked(core, encl, outs)
    for slot in slots[done:]:
        encl.versions.give(slot)
    backing.write(contents[0], bytes(images[: done * PAGE_SIZE]))
    backing.write(pcmds[0], bytes(codes[: done * Pcmd.SIZE]))
    return slots[:done]


def _cells(
    images: memoryview, codes: memoryview, at: int
) -> tuple[memoryview, memoryview]:
    image = images[at * PAGE_SIZE : (at + 1) * PAGE_SIZE]
    return image, codes[at * Pcmd.SIZE : (at + 1) * Pcmd.SIZE]


def _ewb_tracked(core: "Core", encl: Encl, outs: list[Out]) -> int:
    """EWB; where old translations may be left, after ETRACK, and after an interrupt."""
    done = core.kernel.ewb_run(outs)
    if done < len(outs):
        core.kernel.etrack(encl.secs)
        done += core.kernel.ewb_run(outs[done:])
    if done < len(outs):
        core.kick(encl)
        done += core.kernel.ewb_run(outs[done:])
    return done


def _eldu(
    core: "Core",
    encl: Encl,
    epc_page: int,
    secs: int | None,
    place: tuple[int, int, int],
) -> None:
    """Load what is at *place*, its index, address and slot; EIO: it is another page."""
    index, linaddr, slot = place
    backing = core.backing(encl)
    places = _places(encl, index, 1)
    image, pcmd = (backing.read(*one).ljust(one[1], b"\0") for one in places)
    va_page, number = encl.versions.place(slot)
    try:
        code = core.kernel.eldu(
            In(epc_page, va_page, number, image, pcmd, linaddr, secs)
        )
        why = f"SGX_{SgxError(code).name}" if code else ""
    except Fault as fault:
        why = str(fault)
    if why:
        core.gate.lost(encl, f"ELDU: {why}")
        raise refuse(errno.EIO, f"ELDU: {why}")
    encl.versions.give(slot)
    backing.drop(*places)


def _places(encl: Encl, index: int, count: int) -> tuple[Place, Place]:
    """Return where pages and their PCMDs are kept: offset and size, twice."""
    pcmds = encl.size + PAGE_SIZE
    return (
        (index << PAGE_SHIFT, count << PAGE_SHIFT),
        (pcmds + index * Pcmd.SIZE, count * Pcmd.SIZE),
    )
