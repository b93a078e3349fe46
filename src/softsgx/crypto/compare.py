"""Comparison in constant time."""

from cryptography.hazmat.primitives.constant_time import bytes_eq


class MismatchError(ValueError):
    """Two values that had to be equal are not."""


def check_equal(expected: bytes, actual: bytes) -> None:
    """Raise MismatchError unless both are the same bytes; constant time."""
    if not bytes_eq(expected, actual):
        raise MismatchError("values differ")
