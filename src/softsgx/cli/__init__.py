"""What people type.  Commands are imported when they are called, and not before."""

import importlib
from collections.abc import Sequence
from types import MappingProxyType
from typing import NoReturn

import click

from softsgx import __version__
from softsgx.cli.failure import exit_reporting

COMMANDS = MappingProxyType(
    {
        "run": "softsgx.cli.run",
        "sign": "softsgx.cli.sign",
        "doctor": "softsgx.cli.doctor",
        "bench": "softsgx.cli.bench",
        "platform": "softsgx.cli.platform",
        "policy": "softsgx.cli.policy",
        "audit": "softsgx.cli.audit",
    }
)
"""Each command's module, which holds it by the name `command`."""


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands, in the order in which people need them."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(COMMANDS[cmd_name]).command
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="softsgx")
def cli() -> None:
    """Run programs made for Intel SGX on a machine that has none."""


def main(args: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit; prints every error in one line, on stderr."""
    exit_reporting(cli, args)
