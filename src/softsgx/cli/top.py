"""softsgx top: what goes on in the EPC and in the enclaves, again and again."""

import json
import os
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import count
from pathlib import Path
from select import select
from time import monotonic, sleep
from typing import Any

import click
from rich.console import Group
from rich.live import Live

from softsgx.cli.options import platform_option
from softsgx.cli.rates import Sample, between, sample
from softsgx.cli.tables import RATES, console, printed, top_head, top_table
from softsgx.service.control import Operator

_SORTS = {"resident": "", "evicted": ""} | {
    title.lower().removesuffix("/s"): name for name, title in RATES.items()
}
"""What samples can be sorted by, and the count that this is the rate of."""
_LEAST_DELAY = 0.1

Print = Callable[[dict[str, Any]], None]


@click.command
@platform_option
@click.option(
    "--delay",
    type=click.FloatRange(min=_LEAST_DELAY),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="How long a sample takes.",
)
@click.option(
    "-n", "--samples", type=click.IntRange(min=1), help="End after so many samples."
)
@click.option(
    "--sort",
    type=click.Choice(list(_SORTS)),
    default="resident",
    show_default=True,
    help="What comes first: the most of it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON a sample.")
def command(
    *, directory: Path, delay: float, samples: int | None, sort: str, as_json: bool
) -> None:
    """Show what enclaves do, a sample at a time, until q is pressed.

    CALLS are EENTERs, FAULTS what the driver was asked about, OUT and IN pages that
    leave the EPC and come back.  Without a terminal, samples come one below the other.
    """
    is_live = sys.stdout.isatty() and not as_json
    keys = _keys() if is_live and sys.stdin.isatty() else nullcontext()
    try:
        with keys, _printer(sort, as_json=as_json) as show:
            _watch(directory, show, delay, samples)
    except KeyboardInterrupt:
        return


def _watch(directory: Path, show: Print, delay: float, samples: int | None) -> None:
    before = _sample(directory)
    for number in count(1):
        if _is_to_end(delay):
            return
        after = _sample(directory)
        show(between(before, after))
        if number == samples:
            return
        before = after


def _sample(directory: Path) -> Sample:
    # A connection each: a daemon has not many, nor much patience.
    with Operator(directory) as operator:
        return sample(operator.ask, monotonic())


def _is_to_end(delay: float) -> bool:
    """Wait; say whether somebody at a terminal pressed q."""
    end = monotonic() + delay
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        sleep(delay)
        return False
    while (left := end - monotonic()) > 0:
        ready, _, _ = select([sys.stdin], [], [], left)
        if ready and (os.read(sys.stdin.fileno(), 64) or b"q") in (b"q", b"Q"):
            return True
    return False


@contextmanager
def _keys() -> Iterator[None]:
    """Have each key at once, and not shown."""
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


@contextmanager
def _printer(sort: str, *, as_json: bool) -> Iterator[Print]:
    """Give what prints a sample: on a screen of its own where there is a terminal."""
    if as_json:
        yield lambda words: print(json.dumps(words), flush=True)
        return
    if not sys.stdout.isatty():
        yield lambda words: printed(_picture(words, sort))
        return
    output = console()
    with Live(console=output, screen=True, auto_refresh=False) as live:
        yield lambda words: live.update(
            _picture(words, sort, most=output.height), refresh=True
        )


def _picture(words: dict[str, Any], sort: str, most: int | None = None) -> Group:
    rows = sorted(words["enclaves"], key=lambda row: _amount(row, sort), reverse=True)
    return Group(*top_head(words), "", top_table(rows[:most]))


def _amount(row: dict[str, Any], sort: str) -> float:
    name = _SORTS[sort]
    amount: float = row["per_second"][name] if name else row[sort]
    return amount
