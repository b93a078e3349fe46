"""Hot twins: pages out of the EPC in runs, and back one by one, past the leaves.

SDM: "EBLOCK—Mark a page in EPC as Blocked",
"EWB—Invalidate an EPC Page and Write out to Main Memory" and
"ELDB/ELDU/ELDBC/ELDUC—Load an EPC Page and Mark its State".
Only the plain case is done here: a REG, TCS or TRIM page of which every check passes.
All else goes to the leaf, which is the specification; property tests hold both equal.
"""

from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.errors import LeafFailed, SgxError
from softsgx.arch.pageinfo import Pageinfo
from softsgx.arch.secinfo import PageType
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
    """An EWB: the EPC page, its slot's VA page and number, and where the image goes.

    *srcpge* is 4096 bytes, *pcmd* 128, both writable.
    """

    page: int
    va_page: int
    slot: int
    srcpge: memoryview
    pcmd: memoryview


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


def eblock_run(machine: Machine, pages: Sequence[int]) -> int:
    """Block pages in order; return how many, up to the first that EBLOCK refuses.

    Raises what EBLOCK does if that is the first.
    """
    epcm, enclaves = machine.epcm, machine.enclaves
    for done, page in enumerate(pages):
        state, secs, linaddr, _ = epcm.row(page)
        if not state & _VALID or state & _BLOCKED or state >> 8 not in _CHILDREN:
            if done == 0:
                lp = Processor.kernel(FlatMemory(machine.epc.pages))
                lp.regs.rcx = epc_address(page)
                eblock(machine, lp)
            return done
        row = state | _BLOCKED, secs, linaddr, enclaves[secs].epoch
        epcm.set_row(page, row)
    return len(pages)


def ewb_run(machine: Machine, outs: Sequence[Out]) -> int:
    """Evict pages in order; return how many, up to the first that is no plain case.

    That one, if it is the first, goes by the leaf, and raises what EWB does.
    """
    arrays: dict[int, memoryview] = {}
    for done, out in enumerate(outs):
        if not _evict(machine, out, arrays):
            if done:
                return done
            _evict_by_leaf(machine, out)
            return 1
    return len(outs)


def eldu_page(machine: Machine, load: In) -> None:
    """Load a page, as ELDU does; raises what it does."""
    secinfo, rsvd, mac = _PCMD_IN.unpack(load.pcmd)
    (flags,) = _FLAGS.unpack_from(secinfo)
    secs_page = -1 if load.secs_page is None else load.secs_page
    enclave = machine.enclaves.get(secs_page)
    if enclave is None or not _is_plain_load(machine, load, flags):
        _load_by_leaf(machine, load)
        return
    slots = machine.epc.page(load.va_page).cast("Q")
    # Copied once: what lies outside may change while it is looked at.
    sealed = b"".join((load.srcpge, mac))
    header = _HEADER_IN.pack(enclave.eid, load.linaddr, secinfo, rsvd)
    try:
        contents = machine.package.paging.decrypt(slots[load.slot], header, sealed)
    except MismatchError as error:
        raise LeafFailed(SgxError.MAC_COMPARE_FAIL) from error
    slots[load.slot] = 0
    machine.epc.page(load.page)[:] = contents
    enclave.children += 1
    row = flags | _VALID, secs_page, load.linaddr, TRACKED
    machine.epcm.set_row(load.page, row)


def _evict(machine: Machine, out: Out, arrays: dict[int, memoryview]) -> bool:
    """Do what EWB does and return True; or False, with nothing done, if not plain.

    *arrays* has the slots of the run's VA pages, which no plain page changes or frees.
    """
    epcm = machine.epcm
    state, secs, linaddr, epoch = epcm.row(out.page)
    if state & _READY != _READY or state >> 8 not in _CHILDREN:
        return False
    slots = arrays.get(out.va_page)
    if slots is None:
        if epcm.row(out.va_page)[0] != _VA_STATE:
            return False
        slots = arrays[out.va_page] = machine.epc.page(out.va_page).cast("Q")
    if slots[out.slot]:
        return False
    enclave, paging = machine.enclaves[secs], machine.package.paging
    if not enclave.is_tracked(epoch):
        return False
    flags, eid = state & _IN_SECINFO, enclave.eid
    version = paging.next_version()
    header = _HEADER.pack(eid, linaddr, flags)
    sealed = paging.encrypt(version, header, machine.epc.page(out.page))
    out.srcpge[:] = memoryview(sealed)[:PAGE_SIZE]
    _PCMD_OUT.pack_into(out.pcmd, 0, flags, eid, sealed[PAGE_SIZE:])
    slots[out.slot] = version
    enclave.children -= 1
    epcm.set_row(out.page, _FREE)
    return True


def _is_plain_load(machine: Machine, load: In, flags: int) -> bool:
    """Say whether only the MAC is left to be checked."""
    row = machine.epcm.row
    return (
        flags >> 8 & 0xFF in _CHILDREN
        and not row(load.page)[0] & _VALID
        and row(load.va_page)[0] == _VA_STATE
    )


def _evict_by_leaf(machine: Machine, out: Out) -> None:
    info = Pageinfo(linaddr=0, srcpge=_SRCPGE, secinfo=_PCMD, secs=0)
    ewb(machine, _operands(machine, out, info))


def _load_by_leaf(machine: Machine, load: In) -> None:
    secs = 0 if load.secs_page is None else epc_address(load.secs_page)
    info = Pageinfo(linaddr=load.linaddr, srcpge=_SRCPGE, secinfo=_PCMD, secs=secs)
    eldu(machine, _operands(machine, load, info))


def _operands(machine: Machine, where: Out | In, info: Pageinfo) -> Processor:
    """Return a processor whose registers and memory hold a leaf's operands."""
    memory = FlatMemory(machine.epc.pages)
    memory.put(_PAGEINFO, bytes(info))
    memory.put(_PCMD, where.pcmd)
    memory.put(_SRCPGE, where.srcpge)
    lp = Processor.kernel(memory)
    slot = epc_address(where.va_page) + where.slot * SLOT_SIZE
    lp.regs.rbx, lp.regs.rcx, lp.regs.rdx = _PAGEINFO, epc_address(where.page), slot
    return lp
