"""What people type.  A run without options comes to its program the short way."""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # what takes long to import is not, here
    from collections.abc import Sequence


def main(args: "Sequence[str] | None" = None) -> None:
    """Run the command line and exit; prints every error in one line, on stderr."""
    argv = _plain_run(list(sys.argv[1:] if args is None else args))
    if argv:
        _run_quickly(argv)
    # The short way needs none of these, and they take longer than all of it.
    from softsgx.cli.failure import exit_reporting  # noqa: PLC0415 -- see above
    from softsgx.cli.group import cli  # noqa: PLC0415 -- see above

    exit_reporting(cli, args)


def _plain_run(words: list[str]) -> list[str]:
    """Return the program and its arguments of a `run` without options, or nothing."""
    if words[:1] != ["run"]:
        return []
    argv = words[1:]
    if argv[:1] == ["--"]:
        return argv[1:]
    return [] if argv and argv[0].startswith("-") else argv


def _run_quickly(argv: list[str]) -> None:
    """Run a program and exit as it does; return if it needs the long way."""
    from softsgx.runner.quick import quick_run  # noqa: PLC0415 -- others need it not

    try:
        code = quick_run(argv)
    except Exception as error:  # noqa: BLE001 -- nothing may reach the user raw
        from softsgx.cli.failure import exit_for  # noqa: PLC0415 -- as in main
        from softsgx.cli.run import not_started  # noqa: PLC0415 -- as in main

        exit_for(not_started(argv[0], error))
    if code is not None:
        sys.stdout.flush()
        os._exit(code)
