"""Options that several commands take."""

import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import click

from softsgx.cli.failure import Failure
from softsgx.machine.model import Model
from softsgx.platform.errors import PlatformError
from softsgx.platform.models import CPUS, DEFAULT_CPU, MODELS
from softsgx.platform.platform import Platform
from softsgx.platform.record import check_model

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
    """Add --cpu, --epc and --no-sgx2."""
    for option in (
        click.option(
            "--no-sgx2", is_flag=True, help="A processor without SGX2 (EDMM)."
        ),
        click.option("--epc", type=size, metavar="SIZE", help="EPC size, e.g. 64M."),
        click.option(
            "--cpu",
            type=click.Choice(sorted(MODELS)),
            metavar="NAME",
            help=f"Processor model, {', '.join(CPUS)}; `{DEFAULT_CPU}` unless told.",
        ),
    ):
        command = option(command)
    return command


def model_of(cpu: str | None, epc: int | None, *, no_sgx2: bool) -> Model:
    """Return the model that the options describe."""
    model = MODELS[cpu or DEFAULT_CPU]
    if epc is not None:
        model = replace(model, epc_bytes=epc)
    if no_sgx2:
        model = replace(model, sgx2=False)
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
    data = os.environ.get("XDG_DATA_HOME") or Path("~/.local/share").expanduser()
    return Path(data) / "softsgx" / "default"


def platform_option(command: _F) -> _F:
    """Add --platform, a lasting platform's directory."""
    option = click.option(
        "--platform",
        "directory",
        type=path_type(),
        default=default_directory,
        help="The platform's directory; the default one unless told.",
    )
    return option(command)


def open_platform(directory: Path) -> Platform:
    """Open a platform; Failure says what is wrong with it."""
    try:
        return Platform.open(directory)
    except PlatformError as error:
        raise Failure(str(error)) from error
