"""Byte layouts, written the way the manual prints them: field, offset, size.

A layout is a frozen value.  Every byte that no field covers is *reserved*:
decoding skips it, encoding writes zeros, and `reserved_is_zero` answers for the
raw bytes.  MACs and hashes are therefore taken over raw bytes, never over a
re-encoding.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Self, cast, dataclass_transform, get_type_hints


class LayoutError(ValueError):
    """Bytes of the wrong length, or a field value that does not fit its cell."""


@dataclass(frozen=True, slots=True)
class _Cell:
    name: str
    kind: Any
    offset: int
    size: int

    @property
    def end(self) -> int:
        return self.offset + self.size

    def decode(self, raw: bytes) -> object:
        cell = raw[self.offset : self.end]
        if self.kind is bytes:
            return cell
        if issubclass(self.kind, Layout):
            return self.kind.from_bytes(cell)
        return self.kind(int.from_bytes(cell, "little"))

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

    def __init_subclass__(cls, *, size: int, align: int = 1) -> None:
        dataclass(frozen=True, kw_only=True)(cls)
        hints = get_type_hints(cls)
        cells = tuple(
            _Cell(f.name, hints[f.name], f.metadata["offset"], f.metadata["size"])
            for f in fields(cast(Any, cls))
        )
        edge = 0
        for cell in cells:
            if cell.offset < edge:
                raise LayoutError(f"{cls.__name__}.{cell.name} overlaps its neighbour")
            edge = cell.end
        if edge > size:
            raise LayoutError(f"{cls.__name__} ends at {edge}, past its size {size}")
        cls.SIZE, cls.ALIGN, cls._cells = size, align, cells

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
        return cls(**{cell.name: cell.decode(raw) for cell in cls._cells})

    def __bytes__(self) -> bytes:
        raw = bytearray(self.SIZE)
        for cell in self._cells:
            raw[cell.offset : cell.end] = cell.encode(getattr(self, cell.name))
        return bytes(raw)

    @classmethod
    def reserved_is_zero(cls, raw: bytes) -> bool:
        """Say whether every byte outside the named fields is zero, nested ones too."""
        edge = 0
        for cell in cls._cells:
            if any(raw[edge : cell.offset]):
                return False
            inner = raw[cell.offset : cell.end]
            if issubclass(cell.kind, Layout) and not cell.kind.reserved_is_zero(inner):
                return False
            edge = cell.end
        return not any(raw[edge:])
