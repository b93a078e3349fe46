"""Comparison in constant time."""

from hmac import compare_digest


class MismatchError(ValueError):
    """Two values that had to be equal are not."""


def check_equal(expected: bytes, actual: bytes) -> None:
    """Raise MismatchError unless both are the same bytes; constant time."""
    if not compare_digest(expected, actual):
        raise MismatchError("values differ")
