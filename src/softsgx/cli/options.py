"""Options that several commands take."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import click

from softsgx.cli.failure import Failure
from softsgx.machine.model import Model
from softsgx.platform.errors import PlatformError
from softsgx.platform.models import DEFAULT_CPU, MODELS
from softsgx.platform.names import PLATFORM_NAME, directory_of, platforms_place
from softsgx.platform.platform import RECORD_NAME
from softsgx.platform.record import check_model

DEFAULT_NAME = "default"
MOST_READ = 64 << 20
"""Bytes of a policy, a list or a key that are read."""

_F = TypeVar("_F", bound=Callable[..., object])

_SIZE = re.compile(r"(\d+)([KMGT]?)(?:i?B)?", re.IGNORECASE)
_UNITS = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}


def size(text: str) -> int:
    """Read a number of bytes: 4096, 64M, 2GiB; units are binary."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise click.BadParameter(f"{text!r} is not a size like 64M or 2GiB")
    return int(match[1]) << _UNITS[match[2].lower()]


def model_options(command: _F) -> _F:
    """Add --cpu, --epc, --no-sgx2 and --vmx."""
    for option in (
        click.option(
            "--vmx",
            is_flag=True,
            help="A processor for guests of its own: /dev/sgx_vepc is there.",
        ),
        click.option(
            "--no-sgx2", is_flag=True, help="A processor without SGX2 (EDMM)."
        ),
        click.option("--epc", type=size, metavar="SIZE", help="EPC size, e.g. 64M."),
        click.option(
            "--cpu",
            type=click.Choice(sorted(MODELS)),
            metavar="NAME",
            help=f"One of `softsgx platform models`; `{DEFAULT_CPU}` unless told.",
        ),
    ):
        command = option(command)
    return command


def model_of(cpu: str | None, epc: int | None, *, no_sgx2: bool, vmx: bool) -> Model:
    """Return the model that the options describe."""
    model = MODELS[cpu or DEFAULT_CPU]
    if epc is not None:
        model = replace(model, epc_bytes=epc)
    if no_sgx2:
        model = replace(model, sgx2=False)
    if vmx:
        model = replace(model, vmx=True)
    try:
        check_model(model)
    except PlatformError as error:
        raise click.UsageError(str(error)) from error
    return model


def path_type(*, exists: bool = False) -> click.Path:
    """Return the type of a path option: a Path, of a file that is there if *exists*."""
    return click.Path(path_type=Path, exists=exists, dir_okay=not exists)


def default_directory() -> Path:
    """Return where the platform without a name lives."""
    return platforms_place() / DEFAULT_NAME


def _place(
    context: click.Context, option: click.Parameter, word: str | None
) -> Path | None:
    """Return the directory of the platform NAME|DIR; a directory has a slash in it."""
    if word is None:
        return None
    place = directory_of(word)
    if place is None:
        said = f"{word!r} is no name; a directory has a slash in it"
        raise click.BadParameter(said, context, option)
    if "/" not in word and not place.exists() and Path(word, RECORD_NAME).exists():
        said = f"no platform is named {word}; for the directory, write ./{word}"
        raise click.BadParameter(said, context, option)
    return place


def _new_place(
    context: click.Context, option: click.Parameter, word: str | None
) -> Path | None:
    """Return the same for a platform that is to be made."""
    if word is not None and PLATFORM_NAME.fullmatch(word):
        return platforms_place() / word
    return _place(context, option, word)


def platform_argument(command: _F) -> _F:
    """Add NAME|DIR, a lasting platform; the default one unless told."""
    return click.argument(
        "directory",
        metavar="[NAME|DIR]",
        callback=_place,
        default=default_directory,
    )(command)


def new_platform_argument(command: _F) -> _F:
    """Add NAME|DIR of a platform that is to be made."""
    return click.argument(
        "directory",
        metavar="[NAME|DIR]",
        callback=_new_place,
        default=default_directory,
    )(command)


def platform_option(command: _F) -> _F:
    """Add --platform, which is the default one unless told."""
    return click.option(
        "--platform",
        "directory",
        metavar="NAME|DIR",
        callback=_place,
        default=default_directory,
        help="The platform; the default one unless told.",
    )(command)


def run_platform_option(command: _F) -> _F:
    """Add --platform, which a run need not have."""
    return click.option(
        "--platform",
        "directory",
        metavar="NAME|DIR",
        callback=_place,
        help="A lasting platform.",
    )(command)


def read_limited(path: Path, most: int = MOST_READ) -> bytes:
    """Read a file that somebody made by hand; Failure if it has no end."""
    with path.open("rb") as file:
        raw = file.read(most + 1)
    if len(raw) > most:
        raise Failure(f"{path}: more than {most} bytes")
    return raw
