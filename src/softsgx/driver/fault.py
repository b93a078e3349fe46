"""Page faults in enclave mappings: resolved, or the signal that Linux would send."""

import errno
import signal
from dataclasses import dataclass
from typing import TypeAlias

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.faults import (
    PFEC_I,
    PFEC_P,
    PFEC_SGX,
    PFEC_U,
    PFEC_W,
    Fault,
    PageFault,
)
from softsgx.arch.secinfo import PageType
from softsgx.driver.core import Core
from softsgx.driver.encl import Encl, EnclPage
from softsgx.driver.mapping import granted
from softsgx.driver.mm import Mm, Vma
from softsgx.driver.paging.pages import alloc_children, load_around
from softsgx.driver.protocols import NotYetError
from softsgx.driver.uapi import (
    PROT_EXEC,
    PROT_NONE,
    PROT_READ,
    PROT_RWX,
    PROT_WRITE,
    TASK_SIZE,
)
from softsgx.driver.vepc import VepcFile

SEGV_MAPERR = 1
SEGV_ACCERR = 2
SEGV_PKUERR = 4
BUS_ADRERR = 2
"""siginfo's si_code."""

_PATIENCE = 16
"""How often a full EPC waits for files that were closed: Linux is not told later."""
_AROUND = 16
"""Most pages that come to be there natively after a fault at the first of them."""

PFEC_PK = 1 << 5
"""The page fault error code's bit for protection keys, of which SGX knows nothing."""


@dataclass(frozen=True)
class Resolved:
    """The page is there now: let the access run again."""


@dataclass(frozen=True)
class Abort:
    """Not from an enclave: a read yields all ones, a write is dropped, no signal."""


@dataclass(frozen=True)
class Signal:
    """What the thread gets, by its handler or through the vDSO; address is si_addr."""

    signo: int
    si_code: int
    address: int
    vector: int
    error_code: int


@dataclass(frozen=True)
class Wait:
    """Threads inside have all of the EPC: let this one come out, and try later.

    Linux tries again too, and its interrupts bring out who is inside.
    """


Outcome: TypeAlias = Resolved | Signal | Abort | Wait


@dataclass(frozen=True)
class _Access:
    """One faulting access: W and I bits, and the processor's whole error code."""

    address: int
    error_code: int
    from_enclave: bool

    @property
    def kind(self) -> int:
        return self.error_code & (PFEC_W | PFEC_I)

    @property
    def needed(self) -> int:
        """The right that the access uses."""
        if self.error_code & PFEC_W:
            return PROT_WRITE
        return PROT_EXEC if self.error_code & PFEC_I else PROT_READ

    def segv(self, si_code: int, error_code: int) -> Signal:
        return self._signal(signal.SIGSEGV, si_code, error_code)

    def sigbus(self) -> Signal:
        """Linux maps nothing when it sends SIGBUS: the page was not present."""
        return self._signal(signal.SIGBUS, BUS_ADRERR, PFEC_U | self.kind)

    def _signal(self, signo: int, si_code: int, error_code: int) -> Signal:
        # The processor hides from the host where in the page the enclave was.
        address = self.address & -PAGE_SIZE if self.from_enclave else self.address
        return Signal(int(signo), si_code, address, PageFault.vector, error_code)


def resolve(
    core: Core, mm: Mm, address: int, error_code: int, *, from_enclave: bool
) -> Outcome:
    """Go through Linux's cases, in its order."""
    access = _Access(address, error_code, from_enclave)
    vma = mm.find(address)
    if vma is None and error_code & PFEC_SGX:
        # A leaf found memory of the program's there, where it needs the EPC.
        return access.segv(SEGV_ACCERR, error_code)
    if vma is None:
        # Linux tells nobody which of its own addresses are mapped.
        kernels = PFEC_P if address >= TASK_SIZE else 0
        return access.segv(SEGV_MAPERR, PFEC_U | access.kind | kernels)
    vma.encl.counts.faults += 1
    page = vma.encl.page(address)
    refused = _refused(vma, page, access)
    if refused is not None:
        return refused
    if page is None:
        return _absent(core, vma, access)
    if vma.prot & ~page.vm_max_prot:
        return access.sigbus()
    return _present(core, vma, page, access)


def _absent(core: Core, vma: Vma, access: _Access) -> Outcome:
    """Judge an access where the enclave has no page, or where it is a guest's EPC."""
    if isinstance(vma.encl, VepcFile):
        return _vepc(core, vma.encl, vma, access)
    return Resolved() if _eaug(core, vma, access.address) else _failed(core, access)


def _vepc(core: Core, file: VepcFile, vma: Vma, access: _Access) -> Outcome:
    """Give a guest's page to a place: Linux's sgx_vepc_fault.  NotYetError."""
    denied = PFEC_P | PFEC_U | access.kind
    if access.needed == PROT_EXEC and not vma.prot & PROT_EXEC:
        return access.segv(SEGV_ACCERR, denied)
    try:
        file.vepc.fault((access.address - vma.origin) // PAGE_SIZE)
    except OSError:
        wait = core.leaving()
        if wait and file.waits < _PATIENCE:
            file.waits += 1
            raise NotYetError(wait) from None
        file.waits = 0
        return access.sigbus()
    if not access.from_enclave:
        return Abort()
    return access.segv(SEGV_ACCERR, denied | PFEC_SGX)


def _refused(vma: Vma, page: EnclPage | None, access: _Access) -> Signal | None:
    """Refuse what Linux does not even show to the driver."""
    code = access.error_code
    if code & PFEC_PK:
        return access.segv(SEGV_PKUERR, PFEC_P | PFEC_U | PFEC_PK | access.kind)
    if code & PFEC_SGX:
        return access.segv(SEGV_ACCERR, code)
    writes = access.needed == PROT_WRITE
    if vma.prot == PROT_NONE or (writes and not vma.prot & PROT_WRITE):
        present = code & PFEC_P if page else 0
        if page and page.in_tables and vma.prot != PROT_NONE:
            present = PFEC_P
        return access.segv(SEGV_ACCERR, PFEC_U | access.kind | present)
    return None


def _present(core: Core, vma: Vma, page: EnclPage, access: _Access) -> Outcome:
    """Judge an access to a mapped page: by the page tables first, then by EPCM."""
    denied = PFEC_P | PFEC_U | access.kind
    if access.needed == PROT_EXEC and not vma.prot & PROT_EXEC:
        return access.segv(SEGV_ACCERR, denied)
    if page.evicted:
        return _brought(core, vma, page, access)
    core.absorb()
    if granted(vma.encl.word(access.address)) & access.needed:
        return _brought(core, vma, page, access)
    if not access.from_enclave:
        return Abort()
    return access.segv(SEGV_ACCERR, denied | PFEC_SGX)


def _brought(core: Core, vma: Vma, page: EnclPage, access: _Access) -> Outcome:
    """Bring the page back if it is out."""
    encl = vma.encl
    index = encl.index(access.address)
    # isgx loads for an enclave that runs, and is whole.
    stays_out = encl.by_address and (encl.torn or not encl.initialized)
    if stays_out and page.evicted:
        return access.sigbus()
    if page.evicted:
        if core.reclaimer and core.reclaimer.is_to_wait(encl):
            return Wait()
        try:
            load_around(core, encl, index)
        except OSError as error:
            if error.errno == errno.ENOMEM:
                return _failed(core, access)
            return access.sigbus()
    elif core.reclaimer:
        # Page tables that wait for evicted pages wait for pages of zeros too.
        around = next(encl.stretches(index, _AROUND)).count
        encl.memory.populate(index * PAGE_SIZE, around * PAGE_SIZE)
    return Resolved()


def _failed(core: Core, access: _Access) -> Outcome:
    return Wait() if core.is_held_up else access.sigbus()


def _eaug(core: Core, vma: Vma, address: int) -> bool:
    """Add a page where there is none; the enclave must still accept it."""
    encl = vma.encl
    if not (core.cpu.model.sgx2 and encl.initialized and encl.covers(address)):
        return False
    if encl.by_address:
        return False
    try:
        va_pages = core.grow(encl, 1)
    except OSError:
        return False
    if not _eaug_page(core, encl, address & -PAGE_SIZE):
        core.shrink(encl, 1, va_pages)
        return False
    return True


def _eaug_page(core: Core, encl: Encl, linaddr: int) -> bool:
    try:
        _, [(epc_page, _)] = alloc_children(core, encl, 1)
    except OSError:
        return False
    index = encl.index(linaddr)
    core.machine.epc.place(epc_page, 1, encl.view, index * PAGE_SIZE)
    try:
        core.kernel.eaug(epc_page, encl.secs, linaddr)
    except Fault:
        core.take_back(epc_page, 1)
        return False
    # The enclave decides the permissions, by EACCEPT and EMODPE.
    encl.set_run(index, 1, EnclPage(epc_page, PageType.REG, PROT_RWX, in_tables=True))
    encl.secs_child_cnt += 1
    return True
