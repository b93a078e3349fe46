"""What `ps`, `top` and `show` ask a daemon, and how enclaves are named."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from softsgx.cli.failure import Failure

Words = Mapping[str, Any]
Ask = Callable[..., Words]
"""Asks a daemon, as `Operator.ask`: the method, and its words; returns the answer's."""

_LEAST_DIGITS = 4


def rows(ask: Ask, method: str, **words: int) -> list[Words]:
    """Ask for all rows of what comes in pieces."""
    found: list[Words] = []
    first: int | None = 0
    while first is not None:
        piece = ask(method, **words, first=first)
        found += piece["rows"]
        first = piece["next"]
    return found


def pages(ask: Ask, eid: int) -> list[Words]:
    """Ask for the map of an enclave's pages, and join what is alike."""
    joined: list[Words] = []
    for row in rows(ask, "pages", eid=eid):
        last = joined[-1] if joined else None
        if last and {**last, "start": _end(last), "size": row["size"]} == row:
            joined[-1] = {**last, "size": last["size"] + row["size"]}
        else:
            joined.append(row)
    return joined


def find(name: str, enclaves: Sequence[Words]) -> Words:
    """Return the enclave of that id or pid, or whose MRENCLAVE begins so; Failure."""
    number = int(name) if name.isdecimal() and name.isascii() else None
    word = name.lower()
    for found in (
        [row for row in enclaves if row["eid"] == number],
        [row for row in enclaves if number in row["pids"]],
        [
            row
            for row in enclaves
            if len(word) >= _LEAST_DIGITS and row["mrenclave"].startswith(word)
        ],
    ):
        if len(found) == 1:
            return found[0]
        if found:
            ids = ", ".join(str(row["eid"]) for row in found)
            raise Failure(f"{name}: several enclaves are called so: {ids}")
    raise Failure(f"{name}: no such enclave; `softsgx ps` names those there are")


def _end(row: Words) -> int:
    end: int = row["start"] + row["size"]
    return end
