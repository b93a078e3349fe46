"""Byte layouts, written the way the manual prints them: field, offset, size.

A layout is a frozen value.  Every byte that no field covers is *reserved*:
decoding skips it, encoding writes zeros, and `reserved_is_zero` answers for the
raw bytes.  MACs and hashes are therefore taken over raw bytes, never over a
re-encoding.

A layout is a dataclass whose methods are written here once: making them for every
class would be half of the time in which a short program starts and ends.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, field, fields
from inspect import get_annotations
from typing import Any, ClassVar, Self, cast, dataclass_transform


class LayoutError(ValueError):
    """Bytes of the wrong length, or a field value that does not fit its cell."""


_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}


@dataclass(frozen=True, slots=True)
class _Cell:
    name: str
    kind: Any
    offset: int
    size: int

    @property
    def end(self) -> int:
        return self.offset + self.size

    @property
    def code(self) -> str:
        """Letter of the cell in struct's language; bytes where it has no number."""
        is_number = issubclass(self.kind, int) and self.size in _CODES
        return _CODES[self.size] if is_number else f"{self.size}s"

    def mask(self) -> int:
        """Return ones in all bits of the cell but a nested layout's reserved ones."""
        ones = (1 << self.size * 8) - 1
        return ones & ~self.kind.RESERVED if issubclass(self.kind, Layout) else ones

    def decoder(self) -> Callable[[Any], object] | None:
        """Return what makes the field of what struct read; None if it already is."""
        kind = self.kind
        if issubclass(kind, Layout):
            return cast(Callable[[Any], object], kind.from_bytes)
        if kind is bytes or (kind is int and self.size in _CODES):
            return None
        if self.size in _CODES:
            return cast(Callable[[Any], object], kind)
        return lambda raw: kind(int.from_bytes(raw, "little"))

    def encode(self, value: object) -> bytes:
        if isinstance(value, Layout):
            return bytes(value)
        if isinstance(value, bytes):
            if len(value) != self.size:
                message = f"{self.name}: {len(value)} bytes, cell holds {self.size}"
                raise LayoutError(message)
            return value
        if not isinstance(value, int):
            raise LayoutError(f"{self.name}: cannot store {type(value).__name__}")
        try:
            return value.to_bytes(self.size, "little")
        except OverflowError as exc:
            message = f"{self.name}: {value:#x} exceeds {self.size} bytes"
            raise LayoutError(message) from exc


def at(offset: int, size: int) -> Any:  # noqa: ANN401 -- a field specifier must be
    """Place a field: *offset* and *size* in bytes, as in the manual's table."""
    return field(metadata={"offset": offset, "size": size})


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(at,))
class Layout:
    """Base of every architectural structure."""

    SIZE: ClassVar[int]
    ALIGN: ClassVar[int]
    _cells: ClassVar[tuple[_Cell, ...]]
    _names: ClassVar[tuple[str, ...]]
    RESERVED: ClassVar[int]
    _struct: ClassVar[struct.Struct]
    _decoders: ClassVar[tuple[tuple[str, Callable[[Any], object]], ...]]

    def __init_subclass__(cls, *, size: int, align: int = 1) -> None:
        dataclass(init=False, repr=False, eq=False, match_args=False)(cls)
        kinds = get_annotations(cls, eval_str=True)
        cells = tuple(
            _Cell(f.name, kinds[f.name], f.metadata["offset"], f.metadata["size"])
            for f in fields(cast(Any, cls))
        )
        edge, form = 0, "<"
        for cell in cells:
            if cell.offset < edge:
                raise LayoutError(f"{cls.__name__}.{cell.name} overlaps its neighbour")
            form += f"{cell.offset - edge}x{cell.code}"
            edge = cell.end
        if edge > size:
            raise LayoutError(f"{cls.__name__} ends at {edge}, past its size {size}")
        cls.SIZE, cls.ALIGN, cls._cells = size, align, cells
        cls._names = tuple(cell.name for cell in cells)
        cls._struct = struct.Struct(f"{form}{size - edge}x")
        cls.RESERVED = (1 << size * 8) - 1
        for cell in cells:
            cls.RESERVED ^= cell.mask() << cell.offset * 8
        decoders = ((cell.name, cell.decoder()) for cell in cells)
        cls._decoders = tuple((name, decode) for name, decode in decoders if decode)

    def __init__(self, **values: object) -> None:
        if values.keys() != set(self._names):
            wrong = sorted(values.keys() ^ set(self._names))
            raise TypeError(f"{type(self).__name__}: missing or unknown: {wrong}")
        self.__dict__.update(values)

    def __setattr__(self, name: str, value: object) -> None:
        raise FrozenInstanceError(f"cannot assign to {name}")

    def __delattr__(self, name: str) -> None:
        raise FrozenInstanceError(f"cannot delete {name}")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in self._names))

    def __repr__(self) -> str:
        words = ", ".join(f"{name}={getattr(self, name)!r}" for name in self._names)
        return f"{type(self).__name__}({words})"

    @classmethod
    def cells(cls) -> tuple[_Cell, ...]:
        """Return the table's rows, in the manual's order."""
        return cls._cells

    @classmethod
    def zero(cls) -> Self:
        """Return the all-zero value; build on it with dataclasses.replace."""
        return cls.from_bytes(bytes(cls.SIZE))

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Decode exactly SIZE bytes."""
        if len(raw) != cls.SIZE:
            raise LayoutError(f"{cls.__name__} is {cls.SIZE} bytes, got {len(raw)}")
        self = cls.__new__(cls)
        values = self.__dict__
        values.update(zip(cls._names, cls._struct.unpack(raw), strict=True))
        for name, decode in cls._decoders:
            values[name] = decode(values[name])
        return self

    def __bytes__(self) -> bytes:
        raw = bytearray(self.SIZE)
        for cell in self._cells:
            raw[cell.offset : cell.end] = cell.encode(getattr(self, cell.name))
        return bytes(raw)

    @classmethod
    def reserved_is_zero(cls, raw: bytes) -> bool:
        """Say whether every byte outside the named fields is zero, nested ones too."""
        return not int.from_bytes(raw, "little") & cls.RESERVED
