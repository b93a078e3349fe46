"""The one place that prints errors and picks exit codes."""

import errno
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click

from softsgx import __version__
from softsgx.native.images import NotBuilt
from softsgx.platform.errors import PlatformError

FAILED = 1
USAGE = 2
INTERNAL = 70
NOT_STARTED = 125
NOT_EXECUTABLE = 126
NOT_FOUND = 127
INTERRUPTED = 130


class Failure(Exception):  # noqa: N818 -- the user's trouble, not our defect
    """What the user must know, in one line, and the exit code."""

    def __init__(self, message: str, exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def exit_reporting(command: click.Command, args: Sequence[str] | None) -> NoReturn:
    """Run a command line to its end: print what went wrong, and exit."""
    try:
        code = command.main(args, prog_name="softsgx", standalone_mode=False)
        sys.stdout.flush()
    except BaseException as error:  # noqa: BLE001 -- nothing may reach the user raw
        code = _report(error)
    sys.exit(code if isinstance(code, int) else 0)


def exit_for(error: BaseException) -> NoReturn:
    """Print what went wrong, and exit."""
    sys.exit(_report(error))


def _report(error: BaseException) -> int:
    """Print an error, where there is something to print; return the exit code."""
    code = FAILED
    match error:
        case SystemExit():
            code = error.code if isinstance(error.code, int) else FAILED
        case PlatformError() | NotBuilt():
            _complain(str(error))
        case Failure():
            _complain(str(error))
            code = error.exit_code
        case click.exceptions.NoArgsIsHelpError():
            error.show()
            code = error.exit_code
        case click.ClickException():
            _complain(error.format_message().removesuffix("."), _usage(error))
            code = error.exit_code
        case click.Abort() | KeyboardInterrupt():
            code = INTERRUPTED
        case BrokenPipeError():
            _forget_stdout()
        case OSError():
            _complain(_os_message(error))
        case _:
            _complain(_internal_message(error))
            code = INTERNAL
    return code


def _complain(message: str, hint: str = "") -> None:
    one_line = " ".join(message.split())
    click.echo(f"softsgx: {one_line}{hint}", err=True)


def _usage(error: click.ClickException) -> str:
    if not isinstance(error, click.UsageError) or error.ctx is None:
        return ""
    return f" (see `{error.ctx.command_path} --help`)"


def _os_message(error: OSError) -> str:
    reason = error.strerror or str(error)
    # What we write to files of our own is named; the rest is what was printed.
    printed = "standard output" if error.errno == errno.ENOSPC else ""
    where = error.filename or printed
    return f"{where}: {reason}" if where else reason


def _forget_stdout() -> None:
    """Let Python's last flush of stdout, whose reader is gone, go nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _internal_message(error: BaseException) -> str:
    what = f"internal error: {type(error).__name__}: {error}"
    try:
        return f"{what} (details in {_write_log(error)})"
    except OSError as unwritable:
        return f"{what} (no log: {_os_message(unwritable)})"


def _write_log(error: BaseException) -> Path:
    """Write the traceback to a new file that only its owner can read."""
    where = Path(os.environ.get("TMPDIR") or "/tmp")  # noqa: S108 -- a fresh name in it
    path = where / f"softsgx-error-{os.getpid()}-{os.urandom(4).hex()}.log"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(f"softsgx {__version__}, {sys.version}\n{sys.argv}\n")
        traceback.print_exception(error, file=file)
    return path
