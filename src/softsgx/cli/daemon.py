"""softsgx daemon: serve a platform to any number of programs."""

from pathlib import Path

import click

from softsgx.cli.failure import Failure
from softsgx.cli.options import platform_option, size
from softsgx.platform.platform import Platform
from softsgx.service.daemon import Daemon
from softsgx.service.manager import passed_sockets, tell_manager
from softsgx.service.places import CONTROL, DATA, Ownership, let_in, listen

_LOOPBACK = "127.0.0.1"
_MOST_PORT = 65535


def _place(
    context: click.Context, option: click.Parameter, word: str | None
) -> tuple[str, int] | None:
    """Read HOST:PORT, where an IPv6 host stands in brackets."""
    if word is None:
        return None
    host, _, port = word.rpartition(":")
    if not (port.isascii() and port.isdecimal() and int(port) <= _MOST_PORT):
        said = f"{word!r} is no port, nor a host and a port like {_LOOPBACK}:9464"
        raise click.BadParameter(said, context, option)
    return host.strip("[]") or _LOOPBACK, int(port)


def _serve_metrics(daemon: Daemon, host: str, port: int) -> None:
    # It takes as long to import as all the rest.
    from softsgx.service.metrics import serve  # noqa: PLC0415 -- few daemons have it

    try:
        port = serve(daemon.systems, daemon.turn, host, port)
    except OSError as error:
        raise Failure(f"{host}:{port}: {error.strerror}") from error
    shown = f"[{host}]" if ":" in host else host
    print(f"metrics at http://{shown}:{port}/metrics", flush=True)


@click.command
@platform_option
@click.option(
    "--group",
    metavar="GROUP",
    help="Who else may run programs on it; `all`: everybody.",
)
@click.option(
    "--metrics",
    callback=_place,
    metavar="[HOST:]PORT",
    help="Serve metrics for Prometheus there; the host is 127.0.0.1 unless told.",
)
@click.option(
    "--memory-of-others",
    "others_bytes",
    type=size,
    metavar="SIZE",
    help="The most that enclaves of other users have; half of the memory unless told.",
)
def command(
    *,
    directory: Path,
    group: str | None,
    metrics: tuple[str, int] | None,
    others_bytes: int | None,
) -> None:
    """Serve a platform to every `softsgx run --platform` of it.

    It stays in the foreground until SIGTERM or SIGINT; enclaves do not outlive it.
    """
    platform = Platform.open(directory)
    owned = Ownership(directory)
    daemon = Daemon(platform, others_bytes)
    if metrics:
        _serve_metrics(daemon, *metrics)
    given = passed_sockets()
    data = given.get(DATA) or listen(directory, DATA)
    control = given.get(CONTROL) or listen(directory, CONTROL)
    if group is not None:
        let_in(directory, group)
    print(f"{directory}: {platform.identity}, serving", flush=True)
    tell_manager("READY=1")
    served = daemon.serve(data, control)
    programs = "1 program" if served == 1 else f"{served} programs"
    print(f"{directory}: ended while serving {programs}", flush=True)
    owned.give_up()
