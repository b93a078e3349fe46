"""Reading the tables of a TOML file key by key, each with what it must be."""

from collections.abc import Callable
from datetime import date, datetime
from enum import StrEnum
from typing import Any, TypeVar

Place = tuple[str | int, ...]
"""Where something stands in the file, such as ("signing", 2, "mrsigner")."""

_T = TypeVar("_T")
_E = TypeVar("_E", bound=StrEnum)


class WrongError(Exception):
    """What is wrong at a place of the file."""

    def __init__(self, place: Place, what: str):
        super().__init__(what)
        self.place, self.what = place, what


class Table:
    """A table of the file, whose keys are taken out one by one."""

    def __init__(self, place: Place, values: dict[str, Any]):
        self.place = place
        self._values = dict(values)

    def take(self, key: str, read: Callable[[object], _T], default: _T) -> _T:
        """Return a key's value; *read* raises ValueError, saying what it expects."""
        if key not in self._values:
            return default
        return self._read(key, read)

    def need(self, key: str, read: Callable[[object], _T]) -> _T:
        """Return the value of a key that must be there."""
        if key not in self._values:
            raise WrongError(self.place, f"{key} is missing")
        return self._read(key, read)

    def end(self, what: str = "a policy") -> None:
        """Refuse the keys that nobody took; *what*: the file they are in."""
        for key in self._values:
            raise WrongError((*self.place, key), f"no such key in {what}")

    def _read(self, key: str, read: Callable[[object], _T]) -> _T:
        value = self._values.pop(key)
        try:
            return read(value)
        except ValueError as error:
            what = f"{error}, not {_shown(value)}"
            raise WrongError((*self.place, key), what) from error


def _shown(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."


def line(value: object) -> str:
    """Read a string of one line."""
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError("a string of one line is expected")
    return value


def flag(value: object) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise ValueError("true or false is expected")  # noqa: TRY004 -- see take
    return value


def day(value: object) -> date:
    """Read a day."""
    if not isinstance(value, date) or isinstance(value, datetime):
        raise ValueError("a day such as 2030-12-31 is expected")  # noqa: TRY004 -- see take
    return value


def digest(value: object) -> bytes:
    """Read 32 bytes in hex."""
    digits = value if isinstance(value, str) and len(value) == 64 else ""
    try:
        raw = bytes.fromhex(digits)
    except ValueError:
        raw = b""
    if len(raw) != 32:
        raise ValueError("64 hex digits are expected")
    return raw


def table(value: object) -> dict[str, Any]:
    """Read a table."""
    if not isinstance(value, dict):
        raise ValueError("a table is expected")  # noqa: TRY004 -- see take
    return value


def tables(value: object) -> list[dict[str, Any]]:
    """Read an array of tables."""
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise ValueError("entries, each under [[...]], are expected")
    return value


def number(limit: int) -> Callable[[object], int]:
    """Return a reader of numbers from 0 to *limit* - 1."""

    def read(value: object) -> int:
        is_int = isinstance(value, int) and not isinstance(value, bool)
        if not is_int or not isinstance(value, int) or not 0 <= value < limit:
            raise ValueError(f"a number from 0 to {limit - 1} is expected")
        return value

    return read


def word(words: type[_E]) -> Callable[[object], _E]:
    """Return a reader of one of some words."""

    def read(value: object) -> _E:
        if not isinstance(value, str) or value not in list(words):
            raise ValueError(f"one of {', '.join(words)} is expected")
        return words(value)

    return read


def maybe(read: Callable[[object], _T]) -> Callable[[object], _T | None]:
    """Let a reader also stand for what may be missing."""
    return read
