"""Pages of enclaves, out of the EPC to their backing store and back.

Linux's sgx_encl_ewb and sgx_encl_eldu, for neighbours together.  A page that is out
keeps its EPCM word here, as it will be again; what agents are shown is a page that is
not there.
"""

import errno
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING

from softsgx.arch.addr import PAGE_SHIFT, PAGE_SIZE
from softsgx.arch.errors import LeafFailed
from softsgx.arch.faults import Fault
from softsgx.arch.pageinfo import Pcmd
from softsgx.arch.tcs import Tcs
from softsgx.driver.encl import IN, OUT, Encl, EnclPage
from softsgx.driver.errnos import refuse
from softsgx.encls.swap import Image, In, Out
from softsgx.machine.crossing import STAGE_INACTIVE
from softsgx.machine.fields import TCS_STAGE

if TYPE_CHECKING:
    from softsgx.driver.core import Core
    from softsgx.native import backing

Run = tuple[int, int]
"""First page of an enclave, from its base, and number of pages."""

_AHEAD = 32
"""Most pages that come back together."""
_SHARE = 16
"""No more of the EPC than one in so many pages comes back together."""


# ---- out ----


def write_out(
    core: "Core", encl: Encl, runs: Sequence[Run], send: "Send | None" = None
) -> int:
    """Evict those of an enclave's pages that are in the EPC; return how many went.

    *send*: a monitor's way to do it, of which the enclave's driver is not to know.
    """
    core.absorb()
    parts = [part for run in runs for part in encl.resident(*run)]
    spans = [span for run in runs for span in _span(encl, run)]
    for first, count in spans:
        encl.memory.publish(first, bytes(2 * count))
    gone: list[Run] = []
    if parts and _is_protected(encl, spans):
        free = list(_not_entered(core, encl, parts))
        gone = (send or _write_out)(core, encl, free)
    core.machine.epcm.touched.clear()
    for first, count in gone:
        encl.memory.zap(first << PAGE_SHIFT, count << PAGE_SHIFT)
    for mm in encl.mms:
        mm.tables.unprotect(encl, spans)
    went = sum(count for _, count in gone)
    if went < sum(len(pages) for _, pages in parts):
        for first, count in spans:
            encl.memory.publish(first, encl.shown_words(first, count))
    if not send and not encl.secs_child_cnt and encl.initialized:
        _write_out_secs(core, encl)
    return went


def _span(encl: Encl, run: Run) -> Iterator[Run]:
    """Yield a run without what is not in the EPC at its ends, if anything is left.

    To protect what is out as well takes less time than to leave it out.
    """
    letters = encl.whereabouts(*run)
    first, stop = letters.find(IN), letters.rfind(IN) + 1
    if stop:
        yield run[0] + first, stop - first


def _is_protected(encl: Encl, runs: list[Run]) -> bool:
    """Take the right to write from all processes; False: one of them keeps it."""
    try:
        for mm in encl.mms:
            mm.tables.protect(encl, runs)
    except OSError:
        return False
    return True


Part = tuple[int, "array[int]"]
"""Neighbours that are in the EPC: the first of them, and all their EPC pages."""

Send = Callable[["Core", Encl, list[Part]], list[Run]]
"""What evicts pages that nobody can write any more, and says which went."""


def _not_entered(core: "Core", encl: Encl, parts: list[Part]) -> Iterator[Part]:
    """Leave out the pages that an exit of a thread inside will write.

    A thread that enters looks for them after it took its TCS: one of us two is first.
    """
    low = min(first for first, _ in parts)
    high = max(first + len(pages) for first, pages in parts)
    stay = list(_entered(core, encl, low, high))
    if not stay:
        yield from parts
        return
    for first, pages in parts:
        for index, page in enumerate(pages, first):
            if not any(index in few for few in stay):
                yield index, array("I", [page])


def is_needed(core: "Core", encl: Encl, index: int) -> bool:
    """Say whether a page cannot go now: an exit of a thread inside will write it."""
    return any(index in few for few in _entered(core, encl, index, index + 1))


def _entered(core: "Core", encl: Encl, low: int, high: int) -> Iterator[range]:
    """Yield, of each TCS that pages from *low* up to *high* are near, what stays."""
    if len(encl.reclaim.frames) < len(encl.tcs):
        _find_frames(core, encl)
    for index, frames in encl.reclaim.frames.items():
        if not low <= index < high and not (frames.start < high and low < frames.stop):
            continue
        page = encl.numbered(index)
        if page is None or page.evicted:
            continue
        tcs = core.machine.epc.page(page.epc_page)
        if TCS_STAGE.read(tcs) != STAGE_INACTIVE:
            first = frames.start + Tcs.from_bytes(bytes(tcs)).cssa * encl.ssaframesize
            yield range(index, index + 1)
            yield range(first, first + encl.ssaframesize)


def _find_frames(core: "Core", encl: Encl) -> None:
    """Take note where each TCS has its state save area, before it can be out."""
    for index in encl.tcs.difference(encl.reclaim.frames):
        page = encl.numbered(index)
        if page is not None and not page.evicted:
            tcs = Tcs.from_bytes(bytes(core.machine.epc.page(page.epc_page)))
            first = tcs.ossa >> PAGE_SHIFT
            encl.reclaim.frames[index] = range(
                first, first + tcs.nssa * encl.ssaframesize
            )


def _write_out(core: "Core", encl: Encl, parts: list[Part]) -> list[Run]:
    """Evict pages that no process can write any more; return which went."""
    images = _ewb(core, encl, list(chain.from_iterable(pages for _, pages in parts)))
    gone: list[Run] = []
    for first, pages in parts:
        count = min(len(pages), len(images))
        if not count:
            break
        done, images = images[:count], images[count:]
        _keep(core, encl, first, [image for image, _ in done])
        encl.went(first, [slot for _, slot in done])
        core.take_back_all(pages[:count])
        gone.append((first, count))
    return gone


def _keep(core: "Core", encl: Encl, first: int, images: list[Image]) -> None:
    core.backing(encl).write(_place(encl, first), images)


def _ewb(core: "Core", encl: Encl, epc_pages: Sequence[int]) -> list[tuple[Image, int]]:
    """EBLOCK and EWB pages; return images and slots of those that went, the first."""
    try:
        core.backing(encl).reserve()
    except OSError as error:
        if not encl.reclaim.is_stuck:
            core.gate.stuck(encl, error.strerror or str(error))
        encl.reclaim.is_stuck = True
        return []
    encl.reclaim.is_stuck = False
    done = core.kernel.eblock_run(epc_pages)
    slots = encl.versions.take(done)
    outs = [
        Out(page, *encl.versions.place(slot))
        for page, slot in zip(epc_pages, slots, strict=False)
    ]
    images = _ewb_tracked(core, encl, outs)
    encl.versions.give(slots[len(images) :])
    return list(zip(images, slots, strict=False))


def _ewb_tracked(core: "Core", encl: Encl, outs: list[Out]) -> list[Image]:
    """EWB; where old translations may be left, after ETRACK, and after an interrupt."""
    images = core.kernel.ewb_run(outs)
    if len(images) < len(outs):
        core.kernel.etrack(encl.secs)
        images += core.kernel.ewb_run(outs[len(images) :])
    if len(images) < len(outs):
        core.kick(encl)
        images += core.kernel.ewb_run(outs[len(images) :])
    return images


def _write_out_secs(core: "Core", encl: Encl) -> None:
    if encl.is_loading or encl.secs_slot is not None:
        return
    slots = encl.versions.take(1)
    try:
        core.backing(encl).reserve()
    except OSError:
        slots, spare = [], slots
        encl.versions.give(spare)
    for slot in slots:
        out = Out(encl.secs, *encl.versions.place(slot))
        _keep(core, encl, encl.size >> PAGE_SHIFT, core.kernel.ewb_run([out]))
        del core.by_secs[encl.secs]
        core.section.give(encl.secs)
        encl.secs_slot = slot


# ---- back ----


def load_page(core: "Core", encl: Encl, index: int) -> EnclPage:
    """Bring a page back if it is out; ENOMEM without room, EIO if it is not as it was.

    There is such a page.
    """
    page = encl.numbered(index)
    if page is not None and page.away and core.pager:
        core.pager.reach(page.epc_page)
        page = encl.numbered(index)
    elif page is not None and page.evicted:
        _load_run(core, encl, (index, 1))
        page = encl.numbered(index)
    if page is None:
        raise AssertionError(f"no page {index:#x}")
    return page


def load_around(core: "Core", encl: Encl, index: int) -> None:
    """Bring a page back as load_page does, and with it those that will be wanted next.

    Where the pages before it are in the EPC somebody goes that way, or so it seems.
    """
    _load_with(core, encl, index, _window(encl, index, _most_together(core)))


def load_in_order(core: "Core", encl: Encl, index: int, end: int) -> EnclPage:
    """Bring a page back as load_page does, for one who goes from it up to *end*."""
    letters = encl.whereabouts(index, min(end - index, _most_together(core)))
    run = index, len(letters) - len(letters.lstrip(OUT))
    return _load_with(core, encl, index, run)


def _most_together(core: "Core") -> int:
    return max(1, min(_AHEAD, core.reachable // _SHARE))


def _load_with(core: "Core", encl: Encl, index: int, run: Run) -> EnclPage:
    if encl.away and core.pager:
        core.pager.reach_run(encl, run)
    elif run[1] > 1:
        # If it fails one of the others may be the reason.
        with suppress(OSError):
            _load_run(core, encl, run)
    return load_page(core, encl, index)


def _window(encl: Encl, index: int, most: int) -> Run:
    """Return the run of pages that come back together, up or down from *index*."""
    low = max(0, index - most)
    high = min(encl.size >> PAGE_SHIFT, index + most + 1)
    letters = encl.whereabouts(low, high - low)
    at = index - low
    seen, coming = letters[:at], letters[at:]
    history = len(seen) - len(seen.rstrip(IN))
    up = len(coming) - len(coming.lstrip(OUT))
    count = min(up, 2 * history, most)
    if count > 1:
        return index, count
    seen, coming = letters[at + 1 :], letters[: at + 1]
    history = len(seen) - len(seen.lstrip(IN))
    down = len(coming) - len(coming.rstrip(OUT))
    count = max(1, min(down, 2 * history, most))
    return index - count + 1, count


def alloc_children(core: "Core", encl: Encl, count: int) -> tuple[int, list[Run]]:
    """Return the EPC page of an enclave's SECS, which may come back, and free ones."""
    encl.is_loading = True
    try:
        secs = load_secs(core, encl)
        core.make_room(count)
        return secs, core.section.alloc_run(count)
    finally:
        encl.is_loading = False


def load_secs(core: "Core", encl: Encl) -> int:
    """Return the EPC page of an enclave's SECS, which it brings back if it is out."""
    if encl.secs_slot is None:
        if core.pager:
            core.pager.reach(encl.secs)
        return encl.secs
    images = _images(core, encl, encl.size >> PAGE_SHIFT, 1)
    epc_page = core.alloc(listed=False)
    va_page, number = encl.versions.place(encl.secs_slot)
    try:
        _eldu(core, encl, [In(epc_page, va_page, number, *images[0], 0, None)])
    except OSError:
        core.section.give(epc_page)
        raise
    encl.versions.give([encl.secs_slot])
    encl.secs, encl.secs_slot = epc_page, None
    core.by_secs[epc_page] = encl
    return epc_page


def _load_run(core: "Core", encl: Encl, run: Run) -> None:
    """Load neighbours that are out, up to one that is not as it was: EIO if all."""
    first, count = run
    core.absorb()
    images = _images(core, encl, first, count)
    secs, found = alloc_children(core, encl, count)
    offset = first << PAGE_SHIFT
    for page, size in found:
        core.machine.epc.place(page, size, encl.view, offset)
        offset += size << PAGE_SHIFT
    pages = [n for page, size in found for n in range(page, page + size)]
    slots = encl.slots(first, count)
    linaddrs = range(encl.base + (first << PAGE_SHIFT), encl.end, PAGE_SIZE)
    loads = [
        In(page, *encl.versions.place(slot), *image, linaddr, secs)
        for page, slot, image, linaddr in zip(
            pages, slots, images, linaddrs, strict=False
        )
    ]
    done = 0
    try:
        done = _come(core, encl, first, loads)
    finally:
        core.machine.epcm.touched.clear()
        if done < count:
            core.take_back_all(pages[done:])
    encl.versions.give(slots[:done])
    encl.came(first, pages[:done])
    if core.reclaimer:
        core.reclaimer.came(encl, done)
    encl.memory.publish(first, encl.shown_words(first, done))


def _come(core: "Core", encl: Encl, first: int, loads: list[In]) -> int:
    """Load pages and put their contents in place; return how many came."""
    contents = _eldu(core, encl, loads)
    try:
        encl.memory.put(first << PAGE_SHIFT, contents)
    except OSError:
        for load, _ in zip(loads, contents, strict=False):
            core.kernel.eremove(load.page)
        raise
    return len(contents)


def _eldu(core: "Core", encl: Encl, loads: list[In]) -> list[bytes]:
    """Load pages up to one that is another page; EIO: that is the first."""
    try:
        return core.kernel.eldu_run(loads)
    except (Fault, LeafFailed) as failure:
        why = f"ELDU: {failure}"
    if len(loads) == 1 and not encl.reclaim.is_damaged:
        encl.reclaim.is_damaged = True
        core.gate.lost(encl, f"page {loads[0].linaddr:#x}: {why}")
    raise refuse(errno.EIO, why)


def _images(core: "Core", encl: Encl, first: int, count: int) -> "list[backing.Image]":
    """Read the images and PCMDs of pages that are out; NotYetError."""
    return core.backing(encl).read(_place(encl, first), count)


def _place(encl: Encl, index: int) -> Run:
    """Return where a page's image and its PCMD are kept, as Linux lays them out."""
    return index << PAGE_SHIFT, encl.size + PAGE_SIZE + index * Pcmd.SIZE
