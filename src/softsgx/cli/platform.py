"""softsgx platform: make, show, and switch platforms that last."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import click

from softsgx.arch.msr import INTEL_LEPUBKEYHASH
from softsgx.cli.failure import Failure
from softsgx.cli.options import (
    model_of,
    model_options,
    new_platform_argument,
    platform_argument,
)
from softsgx.cli.signer import signer_of
from softsgx.cli.transfer import export_command, import_command
from softsgx.driver.device import nodes
from softsgx.machine.model import Model
from softsgx.platform.audit import Who
from softsgx.platform.errors import PlatformError
from softsgx.platform.guests import Guests
from softsgx.platform.models import CPUS, DEFAULT_CPU, SHORT_NAMES, Named
from softsgx.platform.names import platforms_place
from softsgx.platform.platform import RECORD_NAME, Platform
from softsgx.service.control import Operator, Unserved
from softsgx.service.places import Ownership

_MASKS = ("xfrm", "feature_control")


@click.group
def command() -> None:
    """Platforms that last: a directory with a model, a seed and MSRs.

    NAME is one under $XDG_DATA_HOME/softsgx; DIR has a slash in it.  Without either,
    the one with the name `default` is meant.
    """


command.add_command(export_command)
command.add_command(import_command)


@command.command
@new_platform_argument
@model_options
@click.option(
    "--launch-key",
    metavar="SIGNER",
    help="Whose launch enclaves count: MRSIGNER in hex, or a file with a SIGSTRUCT;"
    " Intel's unless told.",
)
def new(
    *,
    directory: Path,
    cpu: str | None,
    epc: int | None,
    no_sgx2: bool,
    vmx: bool,
    launch_key: str | None,
) -> None:
    """Make a platform; it is off until `softsgx platform enable`.

    --launch-key is for processors whose launch control is locked; on the others Linux
    changes it at each launch.
    """
    model = model_of(cpu, epc, no_sgx2=no_sgx2, vmx=vmx)
    key = signer_of(launch_key, "--launch-key") if launch_key else INTEL_LEPUBKEYHASH
    platform = Platform.create(directory, model, key)
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
    features = (
        *("sgx1", "sgx2", "kss", "flc", "aexnotify", "edeccssa", "exinfo"),
        *("enclv", "oversub"),
    )
    return [name for name in features if getattr(model, name)]


@command.command
@platform_argument
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(*, directory: Path, as_json: bool) -> None:
    """Say what a platform is."""
    shown = _describe(Platform.open(directory))
    if as_json:
        print(json.dumps(shown, indent=2))
        return
    for name, value in shown.items():
        print(f"{name:16} {_in_words(name, value)}")


@command.command
@platform_argument
def enable(*, directory: Path) -> None:
    """Turn a platform on: its owner allows enclaves."""
    _switch(directory, on=True)


@command.command
@platform_argument
def disable(*, directory: Path) -> None:
    """Turn a platform off: no enclave starts on it."""
    _switch(directory, on=False)


@command.command
@platform_argument
@click.option("--kexec", is_flag=True, help="Only a new kernel: locks stay, too.")
def reset(*, directory: Path, kexec: bool) -> None:
    """Reset a platform as a reboot does: locks open, keys stay.

    All enclaves of its daemon, if it has one, are gone, and its guests are off.
    """
    platform = Platform.open(directory)
    found = ""
    try:
        with Operator(directory) as operator:
            pages = operator.ask("reset", kexec=kexec)["sanitized"]
    except Unserved:
        if kexec:
            raise
        Guests(platform).power_off()
        platform.policies().reset(Who.of(os.getpid()))
    else:
        if kexec:
            found = f"; {pages} EPC pages were in use and are sanitized"
    print(f"{directory}: {platform.identity}, reset{found}")


@command.command
@platform_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(*, directory: Path, yes: bool) -> None:
    """Delete a platform: what was sealed with its keys is lost."""
    platform = Platform.open(directory)
    if not (yes or _is_confirmed(f"{directory}: delete {platform.identity}?")):
        raise Failure(f"{directory}: not deleted; --yes deletes without asking")
    try:
        Ownership(directory)
    except PlatformError as error:
        raise Failure(f"{error}; stop it first") from error
    platform.delete()
    print(f"{directory}: deleted")


def _is_confirmed(question: str) -> bool:
    """Ask a person; where there is nobody to ask, the answer is no."""
    return sys.stdin.isatty() and click.confirm(question)


@command.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_platforms(*, as_json: bool) -> None:
    """List the platforms that have a name."""
    found = sorted(path.parent for path in platforms_place().glob(f"*/{RECORD_NAME}"))
    rows = [_platform_row(directory) for directory in found]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        words = f"{row['name']:16} {row['identity']:24} {row['state']:4} {row['why']}"
        print(words.rstrip())


def _platform_row(directory: Path) -> dict[str, str]:
    """Say what one is; *why*: what is wrong with it."""
    row = {"name": directory.name, "directory": str(directory)}
    try:
        platform = Platform.open(directory)
    except PlatformError as error:
        return {**row, "identity": "", "state": "?", "why": str(error)}
    state = "on" if platform.is_on else "off"
    return {**row, "identity": platform.identity, "state": state, "why": ""}


def _last_switch(platform: Platform) -> str:
    """Say who turned a platform on or off last, and when."""
    for record in platform.policies().log.newest():
        if record.get("event") in ("enable", "disable"):
            return f"{record['event']} by uid {record['uid']} on {record['time']}"
    return "never"


def _switch(directory: Path, *, on: bool) -> None:
    platform = Platform.open(directory).switch(on=on)
    print(f"{directory}: {platform.identity}, {'on' if platform.is_on else 'off'}")


def _describe(platform: Platform) -> dict[str, object]:
    model, record = platform.model, platform.record
    return {
        "directory": str(platform.directory),
        "identity": platform.identity,
        "processor": model.identity.brand if model.identity else "this machine's",
        "state": "on" if platform.is_on else "off",
        "switched": _last_switch(platform),
        "features": _features(model),
        "devices": [f"/dev/{name}" for name in nodes(platform.machine())],
        "xfrm": model.xfrm,
        "epc_bytes": model.epc_bytes,
        "max_size_64": model.max_size_64,
        "cpusvn": record.cpusvn.hex(),
        "feature_control": int(record.feature_control),
        "lepubkeyhash": record.lepubkeyhash.hex(),
    }


def _in_words(name: str, value: object) -> str:
    """Return a value as a person reads it: lists in a line, masks in hex."""
    if isinstance(value, list):
        return " ".join(value)
    return f"{value:#x}" if name in _MASKS else str(value)
