"""The linear address space that an instruction sees."""

from bisect import bisect_right
from typing import Protocol

from softsgx.arch.addr import PAGE_SHIFT, PAGE_SIZE
from softsgx.arch.faults import PFEC_W, PageFault

EPC_BASE = 1 << 46
"""Where FlatMemory shows EPC page 0, a linear address."""

ABORT_BYTE = b"\xff"
"""What a read of the EPC from outside an enclave yields."""


class Linear(Protocol):
    """Linear memory: its bytes, and the EPC pages mapped into it."""

    def load(self, address: int, size: int) -> bytes:
        """Return *size* bytes, copied once; PageFault where there are none."""
        ...

    def store(self, address: int, data: bytes) -> None:
        """Write bytes; PageFault, before anything is written, where it cannot."""
        ...

    def page(self, address: int, *, write: bool = False) -> int:
        """Return the EPC page that an address resolves to, for a read or a write.

        PageFault where the page tables forbid it; GeneralProtection when the address
        is not canonical.
        """
        ...


class FlatMemory:
    """Buffers placed at addresses, and the whole EPC from EPC_BASE on.

    This is the kernel's view: a load or store of the EPC meets the abort page.
    """

    def __init__(self, epc_pages: int) -> None:
        self._epc_end = EPC_BASE + (epc_pages << PAGE_SHIFT)
        self._starts: list[int] = []
        self._buffers: list[memoryview] = []

    def put(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Place a buffer; bytes are copied, a bytearray or memoryview is shared."""
        buffer = memoryview(bytearray(data) if isinstance(data, bytes) else data)
        at = bisect_right(self._starts, address)
        if at and self._starts[at - 1] == address:
            self._buffers[at - 1] = buffer.cast("B")
            return
        self._starts.insert(at, address)
        self._buffers.insert(at, buffer.cast("B"))

    def load(self, address: int, size: int) -> bytes:
        """Return *size* bytes of one buffer, or the abort page's."""
        if self._is_epc(address):
            return ABORT_BYTE * size
        return bytes(self._cell(address, size, error_code=0))

    def store(self, address: int, data: bytes) -> None:
        """Write into one buffer; a write to the EPC is dropped."""
        if not self._is_epc(address):
            self._cell(address, len(data), error_code=PFEC_W)[:] = data

    def page(self, address: int, *, write: bool = False) -> int:
        """Return the number of the EPC page at *address*."""
        if not self._is_epc(address):
            raise PageFault(address, PFEC_W if write else 0, "not in the EPC")
        return (address - EPC_BASE) >> PAGE_SHIFT

    def _is_epc(self, address: int) -> bool:
        return EPC_BASE <= address < self._epc_end

    def _cell(self, address: int, size: int, *, error_code: int) -> memoryview:
        at = bisect_right(self._starts, address) - 1
        if at >= 0:
            start = address - self._starts[at]
            cell = self._buffers[at][start : start + size]
            if cell.nbytes == size:
                return cell
        raise PageFault(address, error_code, "nothing mapped")


def epc_address(page: int) -> int:
    """Return the address at which FlatMemory shows an EPC page."""
    return EPC_BASE + page * PAGE_SIZE
