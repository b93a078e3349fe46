"""Ring 0 with a book of how its leaves end."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from softsgx.arch.errors import LeafFailed
from softsgx.arch.faults import Fault
from softsgx.arch.leaves import Encls, Enclv
from softsgx.arch.vmx import VmExit
from softsgx.machine.machine import Machine
from tests.support import Ring0

DONE = "done"
"""How a leaf ends that did something; others end with their code or fault."""


class CountedRing0(Ring0):
    """Ring 0 that counts how its leaves end: by leaf, and what came of it."""

    def __init__(self, machine: Machine, counts: Counter[tuple[str, str]]) -> None:
        super().__init__(machine)
        self.counts = counts

    def call(self, leaf: Encls, rbx: int = 0, rcx: int = 0, rdx: int = 0) -> None:
        with self.counted(leaf.name):
            super().call(leaf, rbx, rcx, rdx)

    def monitor(self, leaf: int, rbx: int = 0, rcx: int = 0, rdx: int = 0) -> None:
        with self.counted(Enclv(leaf).name):
            super().monitor(leaf, rbx, rcx, rdx)

    @contextmanager
    def counted(self, name: str) -> Iterator[None]:
        outcome = DONE
        try:
            yield
        except LeafFailed as failed:
            outcome = failed.code.name
            raise
        except Fault as fault:
            outcome = fault.mnemonic
            raise
        except VmExit as left:
            outcome = left.reason.name
            raise
        finally:
            self.counts[name, outcome] += 1
