"""Operands of an intercepted leaf: copied once, so that what was judged counts."""

from collections.abc import Callable

from softsgx.machine.memory import Linear
from softsgx.machine.processor import Processor

RunLeaf = Callable[[Processor], None]
"""The leaf itself, on the platform's machine."""


class _Copied:
    """A guest's memory in which operands are the copies that were judged."""

    def __init__(self, memory: Linear, copies: dict[int, bytes]):
        self._memory, self._copies = memory, copies

    def load(self, address: int, size: int) -> bytes:
        """Return a copy where there is one."""
        copy = self._copies.get(address)
        return self._memory.load(address, size) if copy is None else copy[:size]

    def store(self, address: int, data: bytes) -> None:
        """Write into the guest's memory."""
        self._memory.store(address, data)

    def page(self, address: int, *, write: bool = False) -> int:
        """Return the EPC page at an address of the guest."""
        return self._memory.page(address, write=write)


def run_with(lp: Processor, copies: dict[int, bytes], run: RunLeaf) -> None:
    """Run a leaf that finds *copies* where their originals are, by address."""
    memory = lp.memory
    lp.memory = _Copied(memory, copies)
    try:
        run(lp)
    finally:
        lp.memory = memory
