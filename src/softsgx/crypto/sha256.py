"""SHA-256."""

import hashlib
from typing import Protocol


class RunningHash(Protocol):
    """A hash that can be fed, copied and read."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        """Feed *data*."""
        ...

    def digest(self) -> bytes:
        """Return the 32-byte hash of what was fed so far."""
        ...

    def copy(self) -> "RunningHash":
        """Return an independent hash in the same state."""
        ...


def new() -> RunningHash:
    """Return a running SHA-256."""
    return hashlib.sha256()


def sha256(data: bytes) -> bytes:
    """Return the 32-byte SHA-256 of *data*."""
    return hashlib.sha256(data).digest()
