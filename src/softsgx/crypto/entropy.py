"""Where random bytes come from."""

from typing import Protocol


class Entropy(Protocol):
    """A source of random bytes, handed in so that leaves are reproducible."""

    def random(self, size: int) -> bytes:
        """Return *size* fresh bytes."""
        ...
