"""softsgx platform export, import: a whole platform in one file."""

import os
import sys
from pathlib import Path

import click

from softsgx.cli.failure import Failure
from softsgx.cli.options import new_platform_argument, path_type, platform_argument
from softsgx.platform.errors import PlatformError
from softsgx.platform.files import write_durably
from softsgx.platform.platform import Platform
from softsgx.platform.transfer import bring_in, export

PASSPHRASE = "SOFTSGX_PASSPHRASE"  # noqa: S105 -- the variable's name

passphrase_option = click.option(
    "--passphrase-file",
    type=path_type(exists=True),
    help=f"Its first line is the passphrase; else ${PASSPHRASE}, else it is asked for.",
)


@click.command("export")
@platform_argument
@passphrase_option
@click.option(
    "-o", "output", required=True, type=path_type(), help="The file to write."
)
def export_command(
    *, directory: Path, passphrase_file: Path | None, output: Path
) -> None:
    """Write a platform into a file, keys too; a passphrase locks it."""
    platform = Platform.open(directory)
    passphrase = given_passphrase(passphrase_file, confirm=True)
    write_durably(output, export(platform, passphrase), 0o600)
    print(f"{output}: {platform.identity}")


@click.command("import")
@click.argument("file", type=path_type(exists=True))
@new_platform_argument
@passphrase_option
def import_command(
    *, file: Path, directory: Path, passphrase_file: Path | None
) -> None:
    """Make the platform that `export` wrote: same keys, same policy."""
    passphrase = given_passphrase(passphrase_file, confirm=False)
    try:
        platform = bring_in(file.read_bytes(), passphrase, directory)
    except PlatformError as error:
        raise Failure(f"{file}: {error}") from error
    state = "on" if platform.is_on else "off"
    print(f"{directory}: {platform.identity}, {state}")


def given_passphrase(path: Path | None, *, confirm: bool) -> str:
    """Return the passphrase of a file, of the environment, or of a person; Failure."""
    if path is not None:
        passphrase = path.read_text().partition("\n")[0]
    else:
        passphrase = os.environ.get(PASSPHRASE, "")
        if not passphrase and not sys.stdin.isatty():
            raise Failure(f"no passphrase: set {PASSPHRASE} or use --passphrase-file")
        passphrase = passphrase or click.prompt(
            "Passphrase", hide_input=True, confirmation_prompt=confirm
        )
    if not passphrase:
        raise Failure(f"{path}: its first line is empty")
    return passphrase
