"""Events that a machine tells to whoever listens."""

from dataclasses import dataclass
from typing import Protocol

from softsgx.arch.errors import SgxError
from softsgx.arch.faults import Fault
from softsgx.arch.leaves import Encls, Enclu, Enclv


@dataclass(frozen=True)
class LeafExecuted:
    """A leaf ended: with *error* in RAX, or with *fault*, or well (both None)."""

    processor: int
    leaf: Encls | Enclu | Enclv
    rbx: int
    rcx: int
    rdx: int
    error: SgxError | None = None
    fault: Fault | None = None


@dataclass(frozen=True)
class AsynchronousExit:
    """An enclave was left for an exception or interrupt, which entered its SSA."""

    processor: int
    secs: int
    vector: int
    error_code: int
    address: int


Event = LeafExecuted | AsynchronousExit


class Sink(Protocol):
    """A listener."""

    def __call__(self, event: Event, /) -> None:
        """Take one event."""
        ...


def discard(event: Event) -> None:
    """Take an event and forget it: the default."""
    del event
