"""What happens to enclaves, in numbers."""

from dataclasses import dataclass


@dataclass(slots=True)
class Counts:
    """EENTERs, EEXITs and asynchronous exits; page faults; pages out and back.

    *faults* are those that the driver was asked about.
    """

    entries: int = 0
    exits: int = 0
    aex: int = 0
    faults: int = 0
    evictions: int = 0
    reloads: int = 0

    def add(self, other: "Counts") -> None:
        """Add what happened to another one."""
        self.entries += other.entries
        self.exits += other.exits
        self.aex += other.aex
        self.faults += other.faults
        self.evictions += other.evictions
        self.reloads += other.reloads
