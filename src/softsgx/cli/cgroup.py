"""softsgx cgroup: how much EPC the cgroups of a daemon's machine have, and may have."""

import json
import os
from pathlib import Path
from typing import Any

import click

from softsgx.cli.options import platform_option, size
from softsgx.cli.words import plain
from softsgx.driver.epc.misc_files import RESOURCE
from softsgx.runner.task.cgroups import mounted_path
from softsgx.service.control import Operator

_COLUMNS = ("max", "current", "peak", "events", "events_local")


@click.group
def command() -> None:
    """How much of a daemon's EPC a cgroup has, and may have.

    PATH is a cgroup's in the unified hierarchy, like /user.slice, or its directory,
    like /sys/fs/cgroup/user.slice.  Limits last as long as the daemon.
    """


def _setting(
    context: click.Context, argument: click.Parameter, word: str
) -> int | None:
    """Read sgx_epc=16M, in bytes; None is for max."""
    resource, is_set, limit = word.partition("=")
    if not is_set or resource != RESOURCE:
        said = f"{word!r} is not like {RESOURCE}=16M or {RESOURCE}=max"
        raise click.BadParameter(said, context, argument)
    return None if limit == "max" else size(limit)


@command.command("set")
@platform_option
@click.argument("path")
@click.argument("limit", metavar=f"{RESOURCE}=SIZE|max", callback=_setting)
def set_command(*, directory: Path, path: str, limit: int | None) -> None:
    """Limit what a cgroup, with all below it, has in the EPC."""
    with Operator(directory) as operator:
        shown = operator.ask("cgroup.set", path=_cgroup_of(path), max=limit)
    print(f"{plain(shown['path'])}: {RESOURCE} {_limit(shown)}")


@command.command("get")
@platform_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.argument("path")
def get_command(*, directory: Path, as_json: bool, path: str) -> None:
    """Say what a cgroup has in the EPC, and may have, in bytes."""
    with Operator(directory) as operator:
        shown = operator.ask("cgroup.get", path=_cgroup_of(path))
    if as_json:
        print(json.dumps(shown, indent=2))
        return
    print(f"{'path':12} {plain(shown['path'])}")
    for name in _COLUMNS:
        print(f"{name:12} {_limit(shown) if name == 'max' else shown[name]}")


@command.command("list")
@platform_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_command(*, directory: Path, as_json: bool) -> None:
    """List the cgroups that had pages in the EPC, or have a limit."""
    with Operator(directory) as operator:
        rows = operator.ask("cgroup.list")
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    print(f"{'MAX':>14} {'CURRENT':>14} {'PEAK':>14} {'EVENTS':>8}  CGROUP")
    for row in rows:
        numbers = f"{_limit(row):>14} {row['current']:>14} {row['peak']:>14}"
        print(f"{numbers} {row['events']:>8}  {plain(row['path'])}")


def _limit(row: dict[str, Any]) -> str:
    return "max" if row["max"] is None else str(row["max"])


def _cgroup_of(word: str) -> str:
    """Return the cgroup that a path means: a directory of one, or its own path."""
    if Path(word).is_dir():
        found = mounted_path(os.getpid(), str(Path(word).resolve()))
        if found is not None:
            return found
    return word
