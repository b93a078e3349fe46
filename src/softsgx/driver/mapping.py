"""mmap, mprotect, munmap, and what of it the CPU may use."""

import errno
import os
from typing import NamedTuple

from softsgx.arch.addr import PAGE_SHIFT, PAGE_SIZE
from softsgx.arch.secinfo import PageType
from softsgx.driver.device import File, Isgx, Provision
from softsgx.driver.encl import Encl, EnclPage
from softsgx.driver.errnos import NotDynamicError, refuse
from softsgx.driver.isgx_checks import check_mapping
from softsgx.driver.mm import Mm, Vma
from softsgx.driver.uapi import (
    MAP_GROWSDOWN,
    MAP_HUGETLB,
    MAP_OLD_FLAGS,
    MAP_PRIVATE,
    MAP_SHARED,
    MAP_SHARED_VALIDATE,
    MAP_TYPE,
    PROT_EXEC,
    PROT_GROWSDOWN,
    PROT_GROWSUP,
    PROT_NONE,
    PROT_READ,
    PROT_RWX,
    PROT_SEM,
    PROT_WRITE,
    TASK_SIZE,
)
from softsgx.machine.epcm import EpcmBits
from softsgx.machine.model import Model

MOST_MAPPINGS = 65530
"""Of a process: Linux's vm.max_map_count, unless somebody changed it."""
_ULONG_MAX = (1 << 64) - 1
_USABLE = PageType.REG << 8 | int(EpcmBits.VALID)
_OPEN = PROT_RWX | int(EpcmBits.PR)
"""EPCM's word for a page that can be accessed, and the bits of it that may differ."""


Where = tuple[int, int, int]
"""Start, length and offset in the file of a mapping, in bytes."""


class Extent(NamedTuple):
    """Addresses of one enclave, and their native protection."""

    start: int
    end: int
    prot: int
    encl: Encl


def check_may_map(
    encl: Encl, start: int, end: int, prot: int, *, exec_implied: bool
) -> None:
    """Refuse with EACCES, in Linux's order; isgx knows none of its rules."""
    if encl.by_address:
        _check_dynamic(encl)
        return
    if encl.initialized and (start < encl.base or end > encl.end):
        raise refuse(errno.EACCES, f"{start:#x} to {end:#x} leaves the enclave")
    if exec_implied:
        raise refuse(errno.EACCES, "READ_IMPLIES_EXEC")
    _check_dynamic(encl)
    prot &= PROT_RWX
    if prot == PROT_NONE:
        return
    for cap in encl.caps(start, end):
        if prot & ~cap:
            raise refuse(errno.EACCES, f"protection {prot} over declared {cap}")


def _check_dynamic(encl: Encl) -> None:
    if encl.initialized and not encl.is_dynamic:
        raise NotDynamicError


def alignment(model: Model, file: File, length: int, flags: int) -> int:
    """Return the alignment of a new mapping; EINVAL for what is no range to isgx."""
    if not isinstance(file, Isgx):
        return PAGE_SIZE
    if not length:
        raise refuse(errno.EINVAL, "length 0")
    length = _page_align(length)
    if length > TASK_SIZE:
        raise refuse(errno.ENOMEM, f"length {length:#x}")
    check_mapping(model, length, is_private=bool(flags & MAP_PRIVATE))
    return length


def mmap(mm: Mm, file: Encl | Provision, where: Where, prot: int, flags: int) -> None:
    """Map *where* it is told.  What it replaces goes only on success."""
    start, length, offset = where
    if flags & MAP_HUGETLB:
        raise refuse(errno.EINVAL, "MAP_HUGETLB")
    if not length:
        raise refuse(errno.EINVAL, "length 0")
    length = _page_align(length)
    if length > TASK_SIZE:
        raise refuse(errno.ENOMEM, f"length {length:#x}")
    if flags & MAP_TYPE == MAP_PRIVATE and isinstance(file, Encl):
        raise refuse(errno.EINVAL, "MAP_PRIVATE")
    if start > TASK_SIZE - length:
        raise refuse(errno.ENOMEM, f"address {start:#x}")
    if start % PAGE_SIZE:
        raise refuse(errno.EINVAL, f"address {start:#x} is not page-aligned")
    _check_place(mm, length, offset)
    _check_type(flags)
    if isinstance(file, Provision):
        raise refuse(errno.ENODEV, "/dev/sgx_provision cannot be mapped")
    may_prot = _may_prot(file, prot)
    if flags & MAP_GROWSDOWN:
        raise refuse(errno.EINVAL, "MAP_GROWSDOWN")
    exec_implied = mm.read_implies_exec
    check_may_map(file, start, start + length, prot, exec_implied=exec_implied)
    if exec_implied and prot & PROT_READ:
        prot |= PROT_EXEC
    prot &= PROT_RWX
    mm.add(Vma(start, start + length, prot, file, may_prot, start - offset))


def mprotect(mm: Mm, start: int, length: int, prot: int) -> None:
    """Change protections piece by piece, lowest first, until one is refused."""
    grows = PROT_GROWSDOWN | PROT_GROWSUP
    if prot & grows == grows or start % PAGE_SIZE:
        raise refuse(errno.EINVAL, f"address {start:#x}, protection {prot:#x}")
    if not length:
        return
    end = start + _page_align(length)
    if end >= 1 << 64:
        raise refuse(errno.ENOMEM, f"length {length:#x} wraps")
    if prot & ~(grows | PROT_RWX | PROT_SEM):
        raise refuse(errno.EINVAL, f"protection {prot:#x}")
    if prot & grows and mm.find(start):
        raise refuse(errno.EINVAL, "a mapping of an enclave does not grow")
    prot &= PROT_RWX
    exec_implied = mm.read_implies_exec
    for vma in mm.overlapping(start, end):
        if prot & ~vma.may_prot:
            raise refuse(errno.EACCES, "not opened for writing")
        low, high = max(vma.start, start), min(vma.end, end)
        check_may_map(vma.encl, low, high, prot, exec_implied=exec_implied)
        _check_cuts(mm, low, high)
        for piece in mm.carve(low, high):
            piece.prot = prot


def munmap(mm: Mm, start: int, length: int) -> None:
    """Unmap whole pages; munmap's own refusals first."""
    if start % PAGE_SIZE or length > TASK_SIZE - start:
        raise refuse(errno.EINVAL, f"address {start:#x}, length {length:#x}")
    if not length:
        raise refuse(errno.EINVAL, "length 0")
    end = start + _page_align(length)
    _check_cuts(mm, start, end)
    mm.remove(start, end)


def effective(mm: Mm, start: int, end: int) -> list[Extent]:
    """Return the native protections of the enclave mappings in a range, as runs.

    Native protection is what the mapping asks and EPCM grants: nothing where there is
    no page, or one not to be reached.  One that is out has its own if it is watched.
    """
    if end - start == PAGE_SIZE:
        return _effective_page(mm, start)
    out: list[Extent] = []
    for vma in mm.overlapping(start, end):
        low, high = max(vma.start, start), min(vma.end, end)
        inside = min(max(low, vma.encl.base), high), max(min(high, vma.encl.end), low)
        if vma.prot == PROT_NONE:
            _append(out, Extent(low, high, PROT_NONE, vma.encl))
            continue
        _append(out, Extent(low, inside[0], PROT_NONE, vma.encl))
        _append_pages(out, mm, vma, *inside)
        _append(out, Extent(inside[1], high, PROT_NONE, vma.encl))
    return out


def granted(word: int) -> int:
    """Return the accesses that an EPCM state word grants to its enclave's code."""
    return word & PROT_RWX if word & ~_OPEN == _USABLE else PROT_NONE


def _effective_page(mm: Mm, start: int) -> list[Extent]:
    """Answer for one page, which is what most faults and EACCEPTs ask for."""
    vma = mm.find(start)
    if vma is None:
        return []
    encl = vma.encl
    page = encl.page(start)
    prot = PROT_NONE
    if page and (not page.evicted or mm.tables.watch(encl)):
        prot = _native(vma, page, encl.word(start))
    return [Extent(start, start + PAGE_SIZE, prot, encl)]


def _append_pages(out: list[Extent], mm: Mm, vma: Vma, low: int, high: int) -> None:
    encl = vma.encl
    shows_all = not encl.evicted or mm.tables.watch(encl)
    at = low
    for stretch in encl.stretches(encl.index(low), (high - low) >> PAGE_SHIFT):
        end = at + (stretch.count << PAGE_SHIFT)
        prot = PROT_NONE
        if shows_all or not stretch.page.evicted:
            prot = _native(vma, stretch.page, stretch.word)
        _append(out, Extent(at, end, prot, encl))
        at = end


def _native(vma: Vma, page: EnclPage, word: int) -> int:
    # A mapping that asks more than was declared never gets the page: SIGBUS.
    if vma.prot & ~page.vm_max_prot:
        return PROT_NONE
    rights = granted(word)
    native = vma.prot & rights
    # The CPU has no pages that can be written, or executed, and not read.
    if vma.prot & PROT_WRITE or (vma.prot and not native):
        native |= rights & PROT_READ
    return native


def _append(out: list[Extent], extent: Extent) -> None:
    if extent.start >= extent.end:
        return
    if out:
        last = out[-1]
        if (last.end, last.prot, last.encl) == extent[:1] + extent[2:]:
            out[-1] = last._replace(end=extent.end)
            return
    out.append(extent)


def _check_cuts(mm: Mm, *places: int) -> None:
    """Refuse with ENOMEM to cut a mapping where there are too many already."""
    for at in places if len(mm.vmas) >= MOST_MAPPINGS else ():
        vma = mm.find(at)
        if vma is not None and vma.start < at:
            raise refuse(errno.ENOMEM, "too many mappings, one of them to be cut")


def _check_place(mm: Mm, length: int, offset: int) -> None:
    if offset >> PAGE_SHIFT > (_ULONG_MAX - length) >> PAGE_SHIFT:
        raise refuse(errno.EOVERFLOW, f"offset {offset:#x}")
    if len(mm.vmas) >= MOST_MAPPINGS:
        raise refuse(errno.ENOMEM, "too many mappings")


def _check_type(flags: int) -> None:
    kind = flags & MAP_TYPE
    if kind == MAP_SHARED_VALIDATE and flags & ~MAP_OLD_FLAGS:
        raise refuse(errno.EOPNOTSUPP, f"flags {flags:#x}")
    if kind not in (MAP_SHARED, MAP_SHARED_VALIDATE, MAP_PRIVATE):
        raise refuse(errno.EINVAL, f"mapping type {kind}")


def _may_prot(encl: Encl, prot: int) -> int:
    """Return what mprotect may ask of a mapping of this file; EACCES by its mode."""
    access = encl.mode & os.O_ACCMODE
    if prot & PROT_WRITE and access == os.O_RDONLY:
        raise refuse(errno.EACCES, "not opened for writing")
    if access == os.O_WRONLY:
        raise refuse(errno.EACCES, "not opened for reading")
    return PROT_RWX if access == os.O_RDWR else PROT_READ | PROT_EXEC


def _page_align(length: int) -> int:
    return -(-length // PAGE_SIZE) * PAGE_SIZE
