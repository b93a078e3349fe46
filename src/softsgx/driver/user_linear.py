"""A process's linear memory, as the leaves that it executes see it."""

from collections.abc import Iterator

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.faults import (
    PFEC_P,
    PFEC_SGX,
    PFEC_U,
    PFEC_W,
    GeneralProtection,
    PageFault,
)
from softsgx.driver.encl import EnclPage
from softsgx.driver.mm import Mm, Vma
from softsgx.driver.protocols import Ordinary
from softsgx.driver.uapi import PROT_NONE, PROT_WRITE
from softsgx.machine.machine import Machine

_CANONICAL_HALF = 1 << 47


class UserLinear:
    """Enclave mappings lead to EPC pages; all else is the task's own memory.

    A page that is not there raises PageFault without P: let `Driver.fault` bring it
    and execute the leaf again.  EPCM is not judged here; that is the leaf's.
    """

    def __init__(self, mm: Mm, task: Ordinary, machine: Machine):
        self._mm = mm
        self._task = task
        self._epc = machine.epc

    def load(self, address: int, size: int) -> bytes:
        """Copy bytes, once; PageFault where they cannot be read."""
        pieces = []
        for at, length, vma in self._pieces(address, size):
            if vma is None:
                pieces.append(self._copy_in(at, length))
            else:
                page = _translate(vma, at, 0)
                start = at % PAGE_SIZE
                cell = self._epc.page(page.epc_page)[start : start + length]
                pieces.append(bytes(cell))
        return b"".join(pieces)

    def store(self, address: int, data: bytes) -> None:
        """Write bytes; in enclave mappings all pages are looked at before the first."""
        pieces = list(self._pieces(address, len(data)))
        pages = [
            None if vma is None else _translate(vma, at, PFEC_W)
            for at, _, vma in pieces
        ]
        done = 0
        for (at, length, _), page in zip(pieces, pages, strict=True):
            part = data[done : done + length]
            if page is None:
                self._copy_out(at, part)
            else:
                start = at % PAGE_SIZE
                self._epc.page(page.epc_page)[start : start + length] = part
            done += length

    def page(self, address: int, *, write: bool = False) -> int:
        """Return the EPC page at an address, for a read or a write; PageFault."""
        _check_canonical(address)
        kind = PFEC_W if write else 0
        vma = self._mm.find(address)
        if vma is not None:
            return _translate(vma, address, kind).epc_page
        code = PFEC_U | kind
        if self._is_ordinary(address):
            code |= PFEC_P | PFEC_SGX
        raise PageFault(address, code, "not in the EPC")

    def _pieces(self, address: int, size: int) -> Iterator[tuple[int, int, Vma | None]]:
        """Cut a range at page borders: address, length, enclave mapping or None."""
        if size:
            _check_canonical(address)
            _check_canonical(address + size - 1)
        end = address + size
        while address < end:
            stop = min(end, (address // PAGE_SIZE + 1) * PAGE_SIZE)
            yield address, stop - address, self._mm.find(address)
            address = stop

    def _is_ordinary(self, address: int) -> bool:
        """Say whether ordinary memory is there, which SGX finds is not the EPC."""
        try:
            self._task.copy_from_user(address, 1)
        except OSError:
            return False
        return True

    def _copy_in(self, address: int, size: int) -> bytes:
        try:
            return self._task.copy_from_user(address, size)
        except OSError as unreadable:
            raise PageFault(address, PFEC_U, "not readable") from unreadable

    def _copy_out(self, address: int, data: bytes) -> None:
        try:
            self._task.copy_to_user(address, data)
        except OSError as unwritable:
            raise PageFault(address, PFEC_U | PFEC_W, "not writable") from unwritable


def _translate(vma: Vma, address: int, write: int) -> EnclPage:
    """Walk the page tables for a read or a write (PFEC_W)."""
    page = vma.encl.page(address)
    # No page, or one that Linux would refuse to map: nothing in the page table.
    if (
        page is None
        or page.evicted
        or vma.prot == PROT_NONE
        or vma.prot & ~page.vm_max_prot
    ):
        raise PageFault(address, PFEC_U | write, "no page table entry")
    if write and not vma.prot & PROT_WRITE:
        raise PageFault(address, PFEC_P | PFEC_U | PFEC_W, "mapped read-only")
    return page


def _check_canonical(address: int) -> None:
    if not (0 <= address < _CANONICAL_HALF or address >= (1 << 64) - _CANONICAL_HALF):
        raise GeneralProtection(f"address {address:#x} is not canonical")
