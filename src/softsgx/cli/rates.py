"""How often things happen in a second: what two samples of a daemon differ in."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from softsgx.cli.watched import Ask, rows

Words = Mapping[str, Any]


class Sample(NamedTuple):
    """A moment in seconds of a clock that never goes back, and what was so then."""

    time: float
    machine: Words
    enclaves: Sequence[Words]


def sample(ask: Ask, time: float) -> Sample:
    """Ask a daemon how things are now."""
    return Sample(time, ask("machine"), rows(ask, "enclaves"))


def between(before: Sample, after: Sample) -> dict[str, Any]:
    """Return what *after* says, with what happened in a second beside it.

    Of an enclave that was not there before, all that ever happened to it is new.
    """
    seconds = after.time - before.time
    old = {row["eid"]: row["counts"] for row in before.enclaves}
    return {
        **after.machine,
        "seconds": round(seconds, 3),
        "per_second": _rates(
            before.machine["counts"], after.machine["counts"], seconds
        ),
        "enclaves": [
            {**row, "per_second": _rates(old.get(row["eid"]), row["counts"], seconds)}
            for row in after.enclaves
        ],
    }


def _rates(before: Words | None, after: Words, seconds: float) -> dict[str, float]:
    """Return how much each count rose; one that a program turned back did not."""
    return {
        name: round(max(0, count - (before[name] if before else 0)) / seconds, 2)
        for name, count in after.items()
    }
