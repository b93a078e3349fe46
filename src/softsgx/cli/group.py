"""The commands.  They are imported when they are called, and not before."""

import importlib
from types import MappingProxyType

import click

from softsgx import __version__

COMMANDS = MappingProxyType(
    {
        "run": "softsgx.cli.run",
        "debug": "softsgx.cli.debug",
        "sign": "softsgx.cli.sign",
        "doctor": "softsgx.cli.doctor",
        "bench": "softsgx.cli.bench",
        "ps": "softsgx.cli.ps",
        "top": "softsgx.cli.top",
        "show": "softsgx.cli.show",
        "platform": "softsgx.cli.platform",
        "cgroup": "softsgx.cli.cgroup",
        "daemon": "softsgx.cli.daemon",
        "guest": "softsgx.cli.guest",
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
