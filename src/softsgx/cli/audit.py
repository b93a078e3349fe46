"""softsgx audit: what was decided and changed on a platform."""

import json
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import click

from softsgx.cli.failure import Failure
from softsgx.cli.options import open_platform, platform_option
from softsgx.platform.audit import AuditLog, Record
from softsgx.platform.errors import PlatformError

_POLL_S = 0.2


@click.group
def command() -> None:
    """Read and check the audit log of a platform that lasts."""


@command.command
@platform_option
def verify(*, directory: Path) -> None:
    """Check that no line was removed or changed."""
    log = _log(directory)
    try:
        count = log.verify()
    except PlatformError as error:
        raise Failure(str(error)) from error
    print(f"{log.path}: {count} lines, all in place")


@command.command
@click.option("-f", "follow", is_flag=True, help="Go on as lines come.")
@click.option(
    "-n", "last", type=click.IntRange(0), default=10, help="The last N lines; 10."
)
@click.option("--event", help="Only this event, such as init or policy.")
@click.option("--verdict", help="Only allow, deny or waived.")
@click.option("--pid", type=int, help="Only this process.")
@click.option("--json", "as_json", is_flag=True, help="Print the lines as they are.")
@platform_option
def tail(  # noqa: PLR0913 -- one for each option
    *,
    follow: bool,
    last: int,
    event: str | None,
    verdict: str | None,
    pid: int | None,
    as_json: bool,
    directory: Path,
) -> None:
    """Print the last lines of the log."""
    chosen = {"event": event, "verdict": verdict, "pid": pid}
    wanted = {key: value for key, value in chosen.items() if value is not None}
    shown: deque[Record] = deque(maxlen=last)

    def wait() -> bool:
        _flush(shown, as_json=as_json)
        if follow:
            time.sleep(_POLL_S)
        return follow

    try:
        for record in _log(directory).records(wait):
            if wanted.items() <= record.items():
                shown.append(record)
    except PlatformError as error:
        raise Failure(str(error)) from error


def _flush(shown: deque[Record], *, as_json: bool) -> None:
    """Print what was read since the last time."""
    while shown:
        record = shown.popleft()
        print(json.dumps(record) if as_json else " ".join(_words(record)), flush=True)


def _log(directory: Path) -> AuditLog:
    return open_platform(directory).policies().log


def _words(record: Record) -> Iterator[str]:
    yield f"{record['time']} {record['event']}"
    hidden = ("seq", "time", "event", "prev", "mac", "reason")
    for key, value in record.items():
        if key not in hidden and value != "":
            yield f"{key}={value}"
    if record.get("reason"):
        yield f": {record['reason']}"
