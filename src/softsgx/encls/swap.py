"""Hot twins: pages out of the EPC in runs, and back in runs, past the leaves.

SDM: "EBLOCK—Mark a page in EPC as Blocked",
"EWB—Invalidate an EPC Page and Write out to Main Memory" and
"ELDB/ELDU/ELDBC/ELDUC—Load an EPC Page and Mark its State".
Only the plain case is done here: a REG, TCS or TRIM page of which every check passes.
All else goes to the leaf, which is the specification; property tests hold both equal.
"""

from collections.abc import Iterator, Sequence
from struct import Struct
from typing import NamedTuple

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.errors import LeafFailed, SgxError
from softsgx.arch.faults import Fault
from softsgx.arch.pageinfo import Pageinfo, Pcmd
from softsgx.arch.secinfo import PageType, Secinfo
from softsgx.crypto.compare import MismatchError
from softsgx.encls.eblock import eblock
from softsgx.encls.eldu import eldu
from softsgx.encls.ewb import ewb
from softsgx.machine.epcm import TRACKED, EpcmBits
from softsgx.machine.machine import Machine
from softsgx.machine.memory import FlatMemory, epc_address
from softsgx.machine.paging import SLOT_SIZE
from softsgx.machine.processor import Processor

_PAGEINFO, _PCMD, _SRCPGE = 0x1000, 0x2000, 0x3000
"""Where a page's own memory holds the operands of a leaf."""

_HEADER = Struct("<QQQ104x")
_PCMD_OUT = Struct("<Q56xQ40x16s")
_PCMD_IN = Struct("<64s8x40s16s")
_HEADER_IN = Struct("<QQ64s40s8x")
_FLAGS = Struct("<Q")

_VALID, _BLOCKED = int(EpcmBits.VALID), int(EpcmBits.BLOCKED)
_READY = _VALID | _BLOCKED
_IN_SECINFO = 0xFF3F
_CHILDREN = frozenset({PageType.REG.value, PageType.TCS.value, PageType.TRIM.value})
_VA_STATE = _VALID | PageType.VA << 8
_FREE = (0, 0, 0, 0)


class Out(NamedTuple):
    """An EWB: the EPC page, and its slot's VA page and number."""

    page: int
    va_page: int
    slot: int


class Image(NamedTuple):
    """What EWB makes of a page: its image, 4096 bytes, and its PCMD, 128."""

    srcpge: bytes | memoryview
    pcmd: bytes


class In(NamedTuple):
    """An ELDU: EPC page, slot, image and PCMD (4096, 128 bytes), address, SECS' page.

    *secs_page* is None for a page that has none, a SECS or VA page.
    """

    page: int
    va_page: int
    slot: int
    srcpge: bytes | memoryview
    pcmd: bytes | memoryview
    linaddr: int
    secs_page: int | None


class _Slots(dict[int, "memoryview | None"]):
    """The slots of VA pages, by their EPC pages; None for what is no VA page.

    No leaf of a run makes a VA page another one.
    """

    def __init__(self, machine: Machine):
        super().__init__()
        self._machine = machine

    def __missing__(self, va_page: int) -> "memoryview | None":
        is_va = self._machine.epcm.row(va_page)[0] == _VA_STATE
        page = self._machine.epc.page(va_page).cast("Q") if is_va else None
        self[va_page] = page
        return page


def eblock_run(machine: Machine, pages: Sequence[int]) -> int:
    """Block pages in order; return how many, up to the first that EBLOCK refuses.

    Raises what EBLOCK does if that is the first.
    """
    done = 0
    while done < len(pages):
        page = pages[done]
        row, count = machine.epcm.alike(page, _rising(pages, done))
        state, secs, linaddr, _ = row
        if not state & _VALID or state & _BLOCKED or state >> 8 not in _CHILDREN:
            break
        epoch = machine.enclaves[secs].epoch
        machine.epcm.fill_row(page, count, (state | _BLOCKED, secs, linaddr, epoch))
        done += count
    if not done and pages:
        lp = Processor.kernel(FlatMemory(machine.epc.limit))
        lp.regs.rcx = epc_address(pages[0])
        eblock(machine, lp)
    return done


def ewb_run(machine: Machine, outs: Sequence[Out]) -> list[Image]:
    """Evict pages in order; return their images, up to the first that is not plain.

    That one, if it is the first, goes by the leaf, and raises what EWB does.
    """
    slots, pages = _Slots(machine), [out.page for out in outs]
    images: list[Image] = []
    while len(images) < len(outs):
        done = len(images)
        images += _evict(machine, outs[done : done + _rising(pages, done)], slots)
        if len(images) == done:
            return images or [_evict_by_leaf(machine, outs[0])]
    return images


def eldu_run(machine: Machine, loads: Sequence[In]) -> list[bytes]:
    """Load pages in order, up to the first that ELDU refuses; return their contents.

    The caller puts those in their places before anybody looks; a SECS and a VA page
    have none.  Raises what ELDU does if that is the first.
    """
    slots, pages = _Slots(machine), [load.page for load in loads]
    contents: list[bytes] = []
    while len(contents) < len(loads):
        done = len(contents)
        run = loads[done : done + _rising(pages, done)]
        try:
            contents += _load(machine, run, slots) or [_load_by_leaf(machine, run[0])]
        except (Fault, LeafFailed):
            if not done:
                raise
            break
    return contents


def _rising(pages: Sequence[int], start: int) -> int:
    """Return how many pages from *start* on are neighbours, one behind the other."""
    for at in range(start + 1, len(pages)):
        if pages[at] != pages[at - 1] + 1:
            return at - start
    return len(pages) - start


def _evict(machine: Machine, outs: Sequence[Out], slots: "_Slots") -> list[Image]:
    """Do EWB of neighbours that are alike and plain, from the first on."""
    first = outs[0].page
    (state, secs, linaddr, epoch), count = machine.epcm.alike(first, len(outs))
    if state & _READY != _READY or state >> 8 not in _CHILDREN:
        return []
    enclave, paging = machine.enclaves[secs], machine.package.paging
    if not enclave.is_tracked(epoch):
        return []
    flags, eid = state & _IN_SECINFO, enclave.eid
    images: list[Image] = []
    for out, contents in zip(outs, _contents(machine, first, count), strict=False):
        array = slots[out.va_page]
        if array is None or array[out.slot]:
            break
        version = paging.next_version()
        header = _HEADER.pack(eid, linaddr, flags)
        sealed = paging.encrypt(version, header, contents)
        pcmd = _PCMD_OUT.pack(flags, eid, sealed[PAGE_SIZE:])
        images.append(Image(memoryview(sealed)[:PAGE_SIZE], pcmd))
        array[out.slot] = version
        linaddr += PAGE_SIZE
    if images:
        enclave.children -= len(images)
        machine.epcm.fill_row(first, len(images), _FREE)
    return images


def _contents(machine: Machine, first: int, count: int) -> Iterator[memoryview]:
    """Yield the contents of neighbours, page by page."""
    for view in machine.epc.views(first, count):
        for at in range(0, len(view), PAGE_SIZE):
            yield view[at : at + PAGE_SIZE]


def _load(machine: Machine, loads: Sequence[In], slots: "_Slots") -> list[bytes]:
    """Do ELDU of neighbours that are alike and plain, from the first on.

    Their contents are returned, not put in place; raises LeafFailed for the first.
    """
    first, secs_page, start = loads[0].page, loads[0].secs_page, loads[0].linaddr
    secinfo = bytes(loads[0].pcmd[: Secinfo.SIZE])
    (flags,) = _FLAGS.unpack_from(secinfo)
    enclave = machine.enclaves.get(-1 if secs_page is None else secs_page)
    if enclave is None or flags >> 8 & 0xFF not in _CHILDREN:
        return []
    contents: list[bytes] = []
    for load, state in zip(loads, machine.epcm.states(first, len(loads)), strict=True):
        linaddr = start + len(contents) * PAGE_SIZE
        its_secinfo, rsvd, mac = _PCMD_IN.unpack(load.pcmd)
        likes = its_secinfo == secinfo and load.linaddr == linaddr
        array = slots[load.va_page]
        if array is None or state & _VALID or not likes or load.secs_page != secs_page:
            break
        # Copied once: what lies outside may change while it is looked at.
        sealed = b"".join((load.srcpge, mac))
        header = _HEADER_IN.pack(enclave.eid, linaddr, secinfo, rsvd)
        try:
            page = machine.package.paging.decrypt(array[load.slot], header, sealed)
        except MismatchError as error:
            if contents:
                break
            raise LeafFailed(SgxError.MAC_COMPARE_FAIL) from error
        array[load.slot] = 0
        contents.append(page)
    if contents and secs_page is not None:
        enclave.children += len(contents)
        row = flags | _VALID, secs_page, start, TRACKED
        machine.epcm.fill_row(first, len(contents), row)
    return contents


def _evict_by_leaf(machine: Machine, out: Out) -> Image:
    info = Pageinfo(linaddr=0, srcpge=_SRCPGE, secinfo=_PCMD, secs=0)
    image, pcmd = memoryview(bytearray(PAGE_SIZE)), memoryview(bytearray(Pcmd.SIZE))
    memory = FlatMemory(machine.epc.limit)
    memory.put(_SRCPGE, image)
    memory.put(_PCMD, pcmd)
    ewb(machine, _operands(memory, out, info))
    return Image(image, bytes(pcmd))


def _load_by_leaf(machine: Machine, load: In) -> bytes:
    secs = 0 if load.secs_page is None else epc_address(load.secs_page)
    info = Pageinfo(linaddr=load.linaddr, srcpge=_SRCPGE, secinfo=_PCMD, secs=secs)
    memory = FlatMemory(machine.epc.limit)
    memory.put(_SRCPGE, load.srcpge)
    memory.put(_PCMD, load.pcmd)
    eldu(machine, _operands(memory, load, info))
    is_child = machine.epcm.row(load.page)[0] >> 8 in _CHILDREN
    return bytes(machine.epc.page(load.page)) if is_child else b""


def _operands(memory: FlatMemory, where: Out | In, info: Pageinfo) -> Processor:
    """Return a processor whose registers and memory hold a leaf's operands."""
    memory.put(_PAGEINFO, bytes(info))
    lp = Processor.kernel(memory)
    slot = epc_address(where.va_page) + where.slot * SLOT_SIZE
    lp.regs.rbx, lp.regs.rcx, lp.regs.rdx = _PAGEINFO, epc_address(where.page), slot
    return lp
