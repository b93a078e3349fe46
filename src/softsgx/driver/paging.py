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
from softsgx.machine.crossing import STAGE_INACTIVE
from softsgx.machine.fields import TCS_STAGE

if TYPE_CHECKING:
    from softsgx.driver.core import Core

Run = tuple[int, int]
"""First page of an enclave, from its base, and number of pages."""


def write_out(core: "Core", encl: Encl, indices: list[int]) -> int:
    """Evict pages of an enclave that are in the EPC; return how many went."""
    runs = list(_runs(indices))
    core.absorb()
    for first, count in runs:
        encl.memory.publish(first, bytes(2 * count))
    for mm in encl.mms:
        mm.tables.protect(encl, runs)
    stay = _entered(core, encl)
    leaving = [n for n in indices if not any(n in pages for pages in stay)]
    gone = [index for index in leaving if _write_out_page(core, encl, index)]
    core.machine.epcm.touched.clear()
    for first, count in _runs(gone):
        encl.memory.zap(first << PAGE_SHIFT, count << PAGE_SHIFT)
    for mm in encl.mms:
        mm.tables.unprotect(encl, runs)
    for index in set(indices) - set(gone):
        encl.memory.publish(index, encl.shown_words(index, 1))
    if not encl.secs_child_cnt and encl.initialized:
        _write_out_secs(core, encl)
    return len(gone)


def load_page(core: "Core", encl: Encl, index: int) -> EnclPage:
    """Bring a page back if it is out; ENOMEM without room, EIO if it is not as it was.

    There is such a page.
    """
    page = encl.page(encl.base + (index << PAGE_SHIFT))
    if page is None:
        raise AssertionError(f"no page {index:#x}")
    if not page.evicted:
        return page
    encl.is_loading = True
    try:
        core.make_room(2)
        secs = load_secs(core, encl)
        epc_page = core.section.alloc()
    finally:
        encl.is_loading = False
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
    core.loaded(epc_page)
    return loaded


def load_secs(core: "Core", encl: Encl) -> int:
    """Return the EPC page of an enclave's SECS, which it brings back if it is out."""
    if encl.secs_slot is None:
        return encl.secs
    epc_page = core.alloc()
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


def _write_out_page(core: "Core", encl: Encl, index: int) -> bool:
    """Evict a page that no process can write any more; False if it has to stay."""
    page = encl.page(encl.base + (index << PAGE_SHIFT))
    if page is None or page.evicted:
        return False
    if core.kernel.eblock(page.epc_page):
        return False
    slot = _ewb(core, encl, page.epc_page, index)
    if slot is None:
        return False
    core.take_back(page.epc_page, 1)
    encl.set_run(index, 1, replace(page, epc_page=slot, evicted=True))
    encl.secs_child_cnt -= 1
    encl.evicted += 1
    return True


def _entered(core: "Core", encl: Encl) -> list[range]:
    """Return the pages that an exit of a thread inside will write.

    A thread that enters looks for them after it took its TCS: one of us two is first.
    """
    stay: list[range] = []
    for index in encl.tcs:
        page = encl.page(encl.base + (index << PAGE_SHIFT))
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
    slot = _ewb(core, encl, encl.secs, encl.size >> PAGE_SHIFT)
    if slot is None:
        return
    del core.by_secs[encl.secs]
    core.section.give(encl.secs)
    encl.secs_slot = slot


def _ewb(core: "Core", encl: Encl, epc_page: int, index: int) -> int | None:
    """Write a page out and return its slot; None if it cannot go."""
    backing = core.backing(encl)
    try:
        backing.reserve(*_places(encl, index))
    except OSError:
        return None
    slot = encl.versions.take()
    code, outside = _ewb_tracked(core, encl, epc_page, encl.versions.address(slot))
    if code:
        encl.versions.give(slot)
        return None
    contents, pcmd = _places(encl, index)
    backing.write(contents[0], outside[:PAGE_SIZE])
    backing.write(pcmd[0], outside[PAGE_SIZE:])
    return slot


def _ewb_tracked(
    core: "Core", encl: Encl, epc_page: int, slot: int
) -> tuple[int, bytes]:
    """EWB; where old translations may be left, after ETRACK, and after an interrupt."""
    code, outside = core.kernel.ewb(epc_page, slot)
    if code == SgxError.NOT_TRACKED:
        core.kernel.etrack(encl.secs)
        code, outside = core.kernel.ewb(epc_page, slot)
    if code == SgxError.NOT_TRACKED:
        core.kick(encl)
        code, outside = core.kernel.ewb(epc_page, slot)
    return code, outside


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
    places = _places(encl, index)
    outside = b"".join(backing.read(*one).ljust(one[1], b"\0") for one in places)
    try:
        code = core.kernel.eldu(
            epc_page, secs, linaddr, encl.versions.address(slot), outside
        )
    except Fault as fault:
        core.broken(encl, f"ELDU: {fault}")
        raise refuse(errno.EIO, f"ELDU: {fault}") from fault
    if code:
        core.broken(encl, f"ELDU: SGX_{SgxError(code).name}")
        raise refuse(errno.EIO, f"ELDU: SGX_{SgxError(code).name}")
    encl.versions.give(slot)
    backing.drop(*places)


def _places(encl: Encl, index: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return where a page's contents and its PCMD are kept: offset and size, twice."""
    pcmds = encl.size + PAGE_SIZE
    return (index << PAGE_SHIFT, PAGE_SIZE), (pcmds + index * Pcmd.SIZE, Pcmd.SIZE)
