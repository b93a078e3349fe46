"""softsgx platform: make, show, and switch platforms that last."""

import json
import os
from pathlib import Path
from typing import Any

import click

from softsgx.cli.failure import Failure
from softsgx.cli.options import model_of, model_options, path_type
from softsgx.machine.model import Model
from softsgx.platform.errors import PlatformError
from softsgx.platform.models import CPUS, DEFAULT_CPU, SHORT_NAMES, Named
from softsgx.platform.platform import Platform


def default_directory() -> Path:
    """Return where the platform without a name lives."""
    data = os.environ.get("XDG_DATA_HOME") or Path("~/.local/share").expanduser()
    return Path(data) / "softsgx" / "default"


_directory = click.argument("directory", type=path_type(), default=default_directory)


@click.group
def command() -> None:
    """Platforms that last: a directory with a model, a seed and MSRs.

    Without DIRECTORY, the one under $XDG_DATA_HOME/softsgx is meant.
    """


@command.command
@_directory
@model_options
def new(*, directory: Path, cpu: str | None, epc: int | None, no_sgx2: bool) -> None:
    """Make a platform; it is off until `softsgx platform enable`."""
    model = model_of(cpu, epc, no_sgx2=no_sgx2)
    try:
        platform = Platform.create(directory, model)
    except PlatformError as error:
        raise Failure(str(error)) from error
    print(f"{directory}: {platform.identity}, off")


@command.command
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def models(*, as_json: bool) -> None:
    """List the processors that --cpu can name."""
    rows = [_model_row(name, cpu) for name, cpu in CPUS.items()]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        epc = f"{row['epc_bytes'] >> 20} MiB"
        print(f"{row['name']:18} {row['signature']:>8} {epc:>9}  {row['words']}")
    shorter = ", ".join(f"{short} is {name}" for short, name in SHORT_NAMES.items())
    print(f"\n{DEFAULT_CPU} unless told; {shorter}.")


def _model_row(name: str, cpu: Named) -> dict[str, Any]:
    """Say what one is; *signature* is family-model-stepping in hex."""
    who = cpu.model.identity
    return {
        "name": name,
        "signature": f"{who.family}-{who.model:x}-{who.stepping:x}" if who else "own",
        "brand": who.brand if who else None,
        "epc_bytes": cpu.model.epc_bytes,
        "features": _features(cpu.model),
        "words": cpu.words,
    }


def _features(model: Model) -> list[str]:
    features = ("sgx1", "sgx2", "kss", "flc", "aexnotify", "edeccssa", "exinfo")
    return [name for name in features if getattr(model, name)]


@command.command
@_directory
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(*, directory: Path, as_json: bool) -> None:
    """Say what a platform is."""
    shown = _describe(_open(directory))
    if as_json:
        print(json.dumps(shown, indent=2))
        return
    for name, value in shown.items():
        print(f"{name:16} {value}")


@command.command
@_directory
def enable(*, directory: Path) -> None:
    """Turn a platform on: its owner allows enclaves."""
    _switch(directory, on=True)


@command.command
@_directory
def disable(*, directory: Path) -> None:
    """Turn a platform off: no enclave starts on it."""
    _switch(directory, on=False)


def _open(directory: Path) -> Platform:
    try:
        return Platform.open(directory)
    except PlatformError as error:
        raise Failure(str(error)) from error


def _switch(directory: Path, *, on: bool) -> None:
    try:
        platform = _open(directory).switch(on=on)
    except PlatformError as error:
        raise Failure(str(error)) from error
    print(f"{directory}: {platform.identity}, {'on' if platform.is_on else 'off'}")


def _describe(platform: Platform) -> dict[str, object]:
    model, record = platform.model, platform.record
    return {
        "directory": str(platform.directory),
        "identity": platform.identity,
        "processor": model.identity.brand if model.identity else "this machine's",
        "state": "on" if platform.is_on else "off",
        "features": " ".join(_features(model)),
        "xfrm": f"{model.xfrm:#x}",
        "epc_bytes": model.epc_bytes,
        "max_size_64": model.max_size_64,
        "cpusvn": record.cpusvn.hex(),
        "feature_control": f"{int(record.feature_control):#x}",
        "lepubkeyhash": record.lepubkeyhash.hex(),
    }
