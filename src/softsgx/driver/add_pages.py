"""SGX_IOC_ENCLAVE_ADD_PAGES: many pages in one call, in pieces of 8 MiB."""

import errno
from dataclasses import dataclass
from time import sleep

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.faults import Fault
from softsgx.arch.leaves import Encls
from softsgx.arch.secinfo import PageType, Secinfo, SecinfoFlags
from softsgx.driver.core import Core
from softsgx.driver.encl import Encl, EnclPage
from softsgx.driver.errnos import ERESTARTSYS, LEAF_ERRNOS, refuse
from softsgx.driver.gate import check_load
from softsgx.driver.ioctl import check_range, copy_in
from softsgx.driver.protocols import Task
from softsgx.driver.uapi import (
    PROT_READ,
    PROT_RWX,
    PROT_WRITE,
    SGX_PAGE_MEASURE,
    sgx_enclave_add_pages,
)

PIECE_PAGES = 2048
"""Pages that are copied and added at a time; between pieces a signal may stop us."""
SHARE = 32
"""No piece takes more than such a part of the EPC, or of what the task's cgroup can
have of it, but for a few pages."""
SMALL_PIECE = 16
_PAUSE = 0.002
"""Seconds, between looks for room."""


def check_secinfo(raw: bytes) -> SecinfoFlags:
    """Return the flags of a SECINFO for EADD; EINVAL for one that Linux refuses."""
    flags = Secinfo.from_bytes(raw).flags
    permissions = flags & PROT_RWX
    if flags.page_type not in (PageType.REG, PageType.TCS):
        raise refuse(errno.EINVAL, f"page type {flags.page_type}")
    if permissions & SecinfoFlags.W and not permissions & SecinfoFlags.R:
        raise refuse(errno.EINVAL, "W without R")
    # EADD clears these silently, so the measurement would differ.
    if flags.page_type == PageType.TCS and permissions:
        raise refuse(errno.EINVAL, "a TCS with permissions")
    if int(flags) & ~(PROT_RWX | 0xFF00) or not Secinfo.reserved_is_zero(raw):
        raise refuse(errno.EINVAL, "reserved bits of SECINFO")
    return flags


def ioc_enclave_add_pages(core: Core, encl: Encl, task: Task, arg: int) -> None:
    """SGX_IOC_ENCLAVE_ADD_PAGES: `count` tells how far it came, whatever happened."""
    if not encl.created or encl.initialized:
        raise refuse(errno.EINVAL, "not between CREATE and INIT")
    params = copy_in(task, arg, sgx_enclave_add_pages)
    if params.src % PAGE_SIZE:
        raise refuse(errno.EINVAL, f"src {params.src:#x} is not page-aligned")
    check_range(encl, params.offset, params.length)
    secinfo = task.copy_from_user(params.secinfo, Secinfo.SIZE)
    flags = check_secinfo(secinfo)
    adding = _Adding(core, encl, task, params, secinfo, flags)
    failure = adding.run()
    done = {"count": adding.done * PAGE_SIZE}
    task.copy_to_user(arg, bytes(sgx_enclave_add_pages(**vars(params) | done)))
    if failure is not None:
        raise failure


@dataclass(frozen=True)
class _Piece:
    """Pages that can be added now, and what stops the page after them."""

    count: int
    stop: OSError | None


class _Adding:
    """One ADD_PAGES call under way: *done* pages of *total*."""

    def __init__(
        self,
        core: Core,
        encl: Encl,
        task: Task,
        params: sgx_enclave_add_pages,
        secinfo: bytes,
        flags: SecinfoFlags,
    ):
        self._core, self._encl, self._task = core, encl, task
        self._params, self._secinfo = params, secinfo
        self._type = flags.page_type
        is_tcs = self._type == PageType.TCS
        self._cap = PROT_READ | PROT_WRITE if is_tcs else int(flags) & PROT_RWX
        self._measured = bool(params.flags & SGX_PAGE_MEASURE)
        self._total = params.length // PAGE_SIZE
        # While a piece is hashed others work: they must find room in the EPC.
        share = max(SMALL_PIECE, core.reachable // SHARE)
        self._most = min(PIECE_PAGES, share)
        self.done = 0

    def run(self) -> OSError | None:
        """Add until all is done or something stops it; return what did."""
        while self.done < self._total:
            if self._task.signal_pending():
                return None if self.done else refuse(ERESTARTSYS, "signal")
            stop = self._add_piece()
            if stop is not None:
                return stop
        return None

    def _add_piece(self) -> OSError | None:
        most = self._most if self._type == PageType.REG else 1
        piece = self._room(min(most, self._total - self.done))
        piece = self._absent(piece)
        piece = self._executable(piece)
        piece = self._allowed(piece)
        piece = self._ordinary(piece)
        piece = self._copied(piece)
        if piece.count:
            failed = self._eadd(piece.count)
            if failed is not None:
                return failed
        return piece.stop

    def _room(self, count: int) -> _Piece:
        """See how many pages fit; what others add now may leave when it is there.

        Linux too tries again as long as there are pages that may leave.
        """
        fits = self._core.fitting(self._encl, count)
        while not fits and self._core.arriving and not self._task.signal_pending():
            self._task.wait_for(_pause)
            fits = self._core.fitting(self._encl, count)
        if fits:
            return _Piece(fits, None)
        if self._core.arriving:
            return _Piece(0, refuse(ERESTARTSYS, "signal"))
        return _Piece(0, refuse(errno.ENOMEM, "the EPC is full"))

    def _absent(self, piece: _Piece) -> _Piece:
        if not piece.count:
            return piece
        free = self._encl.absent_run(self._index, piece.count)
        if free == piece.count:
            return piece
        page = self._index + free
        return _Piece(free, refuse(errno.EBUSY, f"page {page:#x} exists"))

    def _executable(self, piece: _Piece) -> _Piece:
        at = 0
        while at < piece.count:
            source = self._task.source(self._src + at * PAGE_SIZE)
            if source is None:
                return _Piece(at, refuse(errno.EFAULT, "no mapping at the source"))
            if not source.may_exec:
                return _Piece(at, refuse(errno.EACCES, "the source is noexec"))
            at = -(-(source.end - self._src) // PAGE_SIZE)
        return piece

    def _allowed(self, piece: _Piece) -> _Piece:
        """Ask the owner's rules for executable memory."""
        if not piece.count:
            return piece
        try:
            check_load(
                self._core.gate,
                self._task,
                (self._src, piece.count),
                self._cap if self._type == PageType.REG else 0,
                measured=self._measured,
            )
        except OSError as refusal:
            return _Piece(0, refusal)
        return piece

    def _ordinary(self, piece: _Piece) -> _Piece:
        """Stop before an enclave's page: Linux cannot hold on to a device's memory."""
        src = self._src
        enclaves = self._task.mm.overlapping(src, src + piece.count * PAGE_SIZE)
        if not enclaves:
            return piece
        before = max(0, enclaves[0].start - src) // PAGE_SIZE
        return _Piece(before, refuse(errno.EFAULT, "the source is in an enclave"))

    def _copied(self, piece: _Piece) -> _Piece:
        """Copy the source into place; on a hole in it, the pages before the hole.

        Other enclaves grow meanwhile: there must be room still.
        """
        copied = self._copied_source(piece)
        room = self._room(copied.count)
        if room.count < copied.count:
            at, rest = self._index + room.count, copied.count - room.count
            self._encl.memory.zap(at * PAGE_SIZE, rest * PAGE_SIZE)
            return room
        return copied

    def _copied_source(self, piece: _Piece) -> _Piece:
        if not piece.count or self._copy(0, piece.count):
            return piece
        start = self._index * PAGE_SIZE
        self._encl.memory.zap(start, piece.count * PAGE_SIZE)
        copied = 0
        while copied < piece.count and self._copy(copied, 1):
            copied += 1
        if copied == piece.count:  # the hole was filled meanwhile
            return piece
        self._encl.memory.zap(start + copied * PAGE_SIZE, PAGE_SIZE)
        return _Piece(copied, refuse(errno.EFAULT, "the source cannot be read"))

    def _copy(self, at: int, count: int) -> bool:
        start = (self._index + at) * PAGE_SIZE
        view = self._encl.view[start : start + count * PAGE_SIZE]
        return self._task.copy_into(self._src + at * PAGE_SIZE, view)

    def _eadd(self, count: int) -> OSError | None:
        """Add what was copied; a page that EADD refuses is dropped."""
        core, encl = self._core, self._encl
        va_pages = core.grow(encl, count)
        for first, size in core.section.alloc_run(count):
            offset = self._place(first, size)
            run, linaddr = (first, size), encl.base + offset
            core.arriving += size
            try:
                core.kernel.eadd_run(
                    encl.secs, run, linaddr, self._secinfo, measured=self._measured
                )
            except Fault as fault:
                # Only a TCS can be refused, and those go one by one.
                core.take_back(first, size)
                core.shrink(encl, count, va_pages)
                encl.memory.zap(offset, size * PAGE_SIZE)
                return refuse(LEAF_ERRNOS[Encls.EADD].fault, f"EADD: {fault}")
            finally:
                core.arriving -= size
            self._record(first, size)
        return None

    def _place(self, first: int, count: int) -> int:
        offset = self._index * PAGE_SIZE
        self._core.machine.epc.place(first, count, self._encl.view, offset)
        return offset

    def _record(self, first: int, count: int) -> None:
        page = EnclPage(first, self._type, self._cap)
        self._encl.set_run(self._index, count, page)
        self._encl.secs_child_cnt += count
        self.done += count

    @property
    def _index(self) -> int:
        return self._params.offset // PAGE_SIZE + self.done

    @property
    def _src(self) -> int:
        return self._params.src + self.done * PAGE_SIZE


def _pause() -> None:
    sleep(_PAUSE)
