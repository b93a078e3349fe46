"""Sets of bits in a structure's field."""

from enum import IntFlag
from typing import Self


class Bits(IntFlag):
    """A 64-bit set of flags that keeps unknown bits and remembers none of them.

    The standard IntFlag caches each combination it meets for ever; what a hostile
    program writes into a field must not grow our memory.
    """

    def words(self) -> str:
        """Return the names of the flags that are set, and what has none in hex."""
        names = [flag.name or "" for flag in type(self) if flag & self]
        unknown = int(self) & ~sum(type(self))
        return " ".join([*names, f"{unknown:#x}"] if unknown else names)

    @classmethod
    def _missing_(cls, value: object) -> Self:
        if not isinstance(value, int):
            raise TypeError(f"{cls.__name__} takes an integer")
        bits = int.__new__(cls, value & 0xFFFF_FFFF_FFFF_FFFF)
        bits._value_ = int(bits)
        bits._name_ = None
        return bits
