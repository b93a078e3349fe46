"""softsgx run: start a program on a platform of its own, or on one that lasts."""

import errno
import os
import stat
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import click
from click.core import ParameterSource

from softsgx.cli.failure import NOT_EXECUTABLE, NOT_FOUND, NOT_STARTED, Failure
from softsgx.cli.options import (
    default_directory,
    model_of,
    model_options,
    path_type,
    run_platform_option,
)
from softsgx.machine.model import Model
from softsgx.native.images import NotBuilt
from softsgx.platform.errors import PlatformError
from softsgx.platform.names import platforms_place
from softsgx.platform.platform import Platform
from softsgx.runner.options import MASK_PF_SGX, RunOptions
from softsgx.runner.run import OutOfDate, run
from softsgx.service.attachment import Attachment
from softsgx.service.lending import run_attached

if TYPE_CHECKING:
    from softsgx.platform.guests import Guest

_NOT_TRACED = (
    "--trace, --trace-file and -c need a machine of their own:"
    " stop the daemon, or leave out --platform"
)
_OF_A_PLATFORM = "--cpu, --epc, --no-sgx2 and --vmx do not go with --platform"
_DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("--exact", is_flag=True, help="Every ENCLU in the model: slow, exact.")
@click.option(
    "--trace", is_flag=True, help="Print each ioctl and leaf; implies --exact."
)
@click.option(
    "--trace-file", type=path_type(), help="Trace into a file, not to stderr."
)
@click.option(
    "-c", "counts", is_flag=True, help="Table of ioctls and leaves; implies --exact."
)
@run_platform_option
@click.option("--guest", metavar="NAME", help="Run it in this guest of the platform.")
@model_options
@click.option(
    "--inject",
    multiple=True,
    type=click.Choice([MASK_PF_SGX]),
    help="Break a rule on purpose, to see a test notice.",
)
@click.argument("argv", metavar="PROG [ARGS]...", nargs=-1, required=True)
def command(  # noqa: PLR0913 -- one for each option
    *,
    exact: bool,
    trace: bool,
    trace_file: Path | None,
    counts: bool,
    directory: Path | None,
    guest: str | None,
    cpu: str | None,
    epc: int | None,
    no_sgx2: bool,
    vmx: bool,
    inject: tuple[str, ...],
    argv: tuple[str, ...],
) -> int:
    """Run PROG as if this machine had SGX; exit as it does.

    125: softsgx could not start it; 126: not executable; 127: not found.
    """
    if guest is not None and directory is None:
        directory = default_directory()
    if directory is not None and (cpu or epc is not None or no_sgx2 or vmx):
        raise click.UsageError(_OF_A_PLATFORM)
    check_program(argv[0])
    attachment = attach(directory, exact=exact, inject=inject, guest=guest)
    if attachment is not None:
        if trace or trace_file or counts:
            raise Failure(_NOT_TRACED, NOT_STARTED)
        return run_program(argv[0], lambda: run_attached(list(argv), attachment))
    platform = platform_of(directory, model_of(cpu, epc, no_sgx2=no_sgx2, vmx=vmx))
    try:
        options = RunOptions(
            platform=platform,
            guest=guest_of(platform, guest),
            exact=exact,
            trace=_trace_to(trace_file, trace=trace),
            counts=counts,
            inject=frozenset(inject),
            is_plain=_is_plain(),
        )
    except OSError as error:
        raise not_started(argv[0], error) from error
    return run_program(argv[0], lambda: run(list(argv), options))


def attach(
    directory: Path | None,
    *,
    exact: bool = False,
    inject: tuple[str, ...] = (),
    guest: str | None = None,
) -> Attachment | None:
    """Attach to a platform's daemon, if it has one; Failure: it does not serve us."""
    if directory is None:
        return None
    try:
        wishes = {"exact": exact, "inject": inject, "guest": guest}
        return Attachment.to(directory, wishes)
    except PlatformError as error:
        raise Failure(str(error), NOT_STARTED) from error
    except OSError as error:
        hint = " (the daemon's --group says who may)" if _is_denied(error) else ""
        said = f"{error.filename}: {error.strerror}{hint}"
        raise Failure(said, NOT_STARTED) from error


def _is_denied(error: OSError) -> bool:
    return error.errno == errno.EACCES


def run_program(name: str, run_it: Callable[[], int]) -> int:
    """Run it, and return its exit code; Failure says why it could not be started."""
    try:
        return run_it()
    except (OSError, NotBuilt) as error:
        raise not_started(name, error) from error


def _is_plain() -> bool:
    """Say whether the user gave no option."""
    context = click.get_current_context()
    sources = map(context.get_parameter_source, context.params.keys() - {"argv"})
    return all(source is ParameterSource.DEFAULT for source in sources)


_START_CODES = {errno.ENOEXEC: NOT_EXECUTABLE, errno.ENOENT: NOT_FOUND}
"""Exit codes for what execve says after the file itself was found."""


def not_started(program: str, error: Exception) -> Exception:
    """Return an error as the user is to read it, if it is about the start."""
    if isinstance(error, (NotBuilt, OutOfDate)):
        return Failure(str(error), NOT_STARTED)
    if not isinstance(error, OSError):
        return error
    code = _START_CODES.get(error.errno or 0, NOT_STARTED)
    hint = " (see `softsgx doctor`)" if code == NOT_STARTED else ""
    what = f"{error.filename or program}: {error.strerror or error}"
    return Failure(f"{what}{hint}", code)


def check_program(name: str) -> None:
    """Raise Failure unless *name* is a program, by its path or on PATH."""
    # Not Path.exists: a directory on PATH may be closed to us.
    found = [path for path in _candidates(name) if os.path.exists(path)]  # noqa: PTH110 -- see there
    if not found:
        raise Failure(f"{name}: not found", NOT_FOUND)
    if not any(_is_executable(path) for path in found):
        raise Failure(f"{name}: not executable", NOT_EXECUTABLE)


def _candidates(name: str) -> list[Path]:
    if "/" in name:
        return [Path(name)]
    places = os.environ.get("PATH", _DEFAULT_PATH).split(os.pathsep)
    return [Path(place, name) for place in places if name]


def _is_executable(path: Path) -> bool:
    return stat.S_ISREG(path.stat().st_mode) and os.access(path, os.X_OK)


def platform_of(directory: Path | None, model: Model) -> Platform:
    """Return the platform of a directory, one of its own without; Failure."""
    if directory is None:
        return Platform.ephemeral(model)
    try:
        platform = Platform.open(directory)
    except PlatformError as error:
        raise Failure(str(error), NOT_STARTED) from error
    if not platform.is_on:
        name = directory.name if directory.parent == platforms_place() else directory
        hint = f"it is off; turn it on with `softsgx platform enable {name}`"
        click.echo(f"softsgx: {directory}: no SGX here: {hint}", err=True)
        return Platform.ephemeral(replace(platform.model, sgx1=False))
    return platform


def guest_of(platform: Platform, name: str | None) -> "Guest | None":
    """Return a guest that is on, entered; None: of a platform that is off."""
    if name is None or platform.directory is None:
        return None
    from softsgx.platform.guests import Guests  # noqa: PLC0415 -- few runs need it

    try:
        return Guests(platform).enter(name)
    except PlatformError as error:
        raise Failure(str(error), NOT_STARTED) from error


def _trace_to(path: Path | None, *, trace: bool) -> TextIO | None:
    """Return where the trace goes; the program and its children do not inherit it."""
    if path is None:
        return sys.stderr if trace else None
    try:
        return path.open("w", buffering=1)
    except OSError as error:
        raise Failure(f"{path}: {error.strerror}", NOT_STARTED) from error
