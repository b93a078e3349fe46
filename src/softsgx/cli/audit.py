"""softsgx audit: what was decided and changed on a platform."""

import json
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import click

from softsgx.cli.options import platform_option
from softsgx.cli.words import plain
from softsgx.platform.audit import AuditLog, Record
from softsgx.platform.platform import Platform

VERDICTS = ("allow", "deny", "waived")

_POLL_S = 0.2


@click.group
def command() -> None:
    """Read and check the audit log of a platform that lasts."""


@command.command
@platform_option
def verify(*, directory: Path) -> None:
    """Check that no line was removed or changed."""
    log = _log(directory)
    count = log.verify()
    print(f"{log.path}: {count} lines, all in place")


@command.command
@click.option("-f", "follow", is_flag=True, help="Go on as lines come.")
@click.option(
    "-n", "last", type=click.IntRange(0), default=10, help="The last N lines; 10."
)
@click.option("--event", help="Only this event, such as init or policy.")
@click.option("--verdict", type=click.Choice(VERDICTS), help="Only this verdict.")
@click.option("--pid", type=int, help="Only this process.")
@click.option("--uid", type=int, help="Only this user.")
@click.option("--guest", help="Only this guest's enclaves, and what happens to it.")
@click.option("--mrsigner", help="Only this signer's enclaves, 64 hex digits.")
@click.option("--json", "as_json", is_flag=True, help="Print the lines as they are.")
@platform_option
def tail(
    *, follow: bool, last: int, as_json: bool, directory: Path, **chosen: str | int
) -> None:
    """Print the last lines of the log."""
    wanted = {key: value for key, value in chosen.items() if value is not None}
    log = _log(directory)
    size = log.size()
    newest = (one for one in log.newest() if wanted.items() <= one.items())
    for record in reversed(list(islice(newest, last))):
        _show(record, as_json=as_json)
    if not follow:
        return
    for record in log.records(_wait, start=size):
        if wanted.items() <= record.items():
            _show(record, as_json=as_json)


def _wait() -> bool:
    time.sleep(_POLL_S)
    return True


def _show(record: Record, *, as_json: bool) -> None:
    print(json.dumps(record) if as_json else " ".join(_words(record)), flush=True)


def _log(directory: Path) -> AuditLog:
    return Platform.open(directory).policies().log


def _words(record: Record) -> Iterator[str]:
    """Yield the words of a line for people; nothing in it is more than a word."""
    yield f"{record.get('time')} {plain(record.get('event'))}"
    hidden = ("seq", "time", "event", "prev", "mac", "reason")
    for key, value in record.items():
        if key not in hidden and value != "":
            yield f"{plain(key)}={plain(value)}"
    if record.get("reason"):
        yield f": {plain(record['reason'])}"
