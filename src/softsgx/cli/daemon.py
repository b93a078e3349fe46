"""softsgx daemon: serve a platform to any number of programs."""

from pathlib import Path

import click

from softsgx.cli.options import platform_option
from softsgx.platform.platform import Platform
from softsgx.service.daemon import Daemon
from softsgx.service.places import CONTROL, DATA, Ownership, listen


@click.command
@platform_option
def command(*, directory: Path) -> None:
    """Own a platform, and serve it to every `softsgx run --platform` of it.

    Stays in the foreground until SIGTERM or SIGINT.
    """
    platform = Platform.open(directory)
    owned = Ownership(directory)
    daemon = Daemon(platform)
    data, control = listen(directory, DATA), listen(directory, CONTROL)
    print(f"{directory}: {platform.identity}, serving", flush=True)
    daemon.serve(data, control)
    owned.give_up()
