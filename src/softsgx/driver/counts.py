"""What happens to enclaves, in numbers."""

from dataclasses import astuple, dataclass


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

    def __add__(self, other: "Counts") -> "Counts":
        pairs = zip(astuple(self), astuple(other), strict=True)
        return Counts(*(one + two for one, two in pairs))
