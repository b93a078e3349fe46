"""What people type.  A run without options comes to its program the short way."""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:  # what takes long to import is not, here
    from collections.abc import Sequence

_HANDED = "--handed"
"""What native/start says when Python is to go on; nobody types it."""


def main(args: "Sequence[str] | None" = None) -> None:
    """Run the command line and exit; prints every error in one line, on stderr."""
    words = list(sys.argv[1:] if args is None else args)
    handed, words = _handed(words)
    if words[:1] == ["run"]:
        platform, argv = _short_run(words[1:])
        if argv:
            _run_quickly(handed, platform, argv)
    # The short way needs none of these, and they take longer than all of it.
    from softsgx.cli.failure import exit_reporting  # noqa: PLC0415 -- see above
    from softsgx.cli.group import cli  # noqa: PLC0415 -- see above

    exit_reporting(cli, args)


def _handed(words: list[str]) -> "tuple[int | None, list[str]]":
    """Return what tells of a run that began without Python, and the run's words."""
    if words[:1] == [_HANDED] and words[1:2] and words[1].isdecimal():
        return int(words[1]), words[2:]
    return None, words


def _short_run(words: list[str]) -> "tuple[str | None, list[str]]":
    """Return the platform, and the program with its arguments, of a `run`.

    No program: there are other options.
    """
    platform = None
    if words[:1] == ["--platform"]:
        platform, words = "".join(words[1:2]), words[2:]
    if words[:1] == ["--"]:
        return platform, words[1:]
    return platform, [] if words and words[0].startswith("-") else words


def _run_quickly(handed: "int | None", platform: "str | None", argv: list[str]) -> None:
    """Run a program and exit as it does; return if it needs the long way."""
    try:
        code = _run(handed, platform, argv)
    except Exception as error:  # noqa: BLE001 -- nothing may reach the user raw
        from softsgx.cli.failure import exit_for  # noqa: PLC0415 -- as in main
        from softsgx.cli.run import not_started  # noqa: PLC0415 -- as in main

        exit_for(not_started(argv[0], error))
    if code is not None:
        sys.stdout.flush()
        os._exit(code)


def _run(handed: "int | None", platform: "str | None", argv: list[str]) -> "int | None":
    if handed is not None:
        from softsgx.runner.quick import handed_run  # noqa: PLC0415 -- others need it not

        return handed_run(handed, argv)
    if platform is None:
        from softsgx.runner.quick import quick_run  # noqa: PLC0415 -- others need it not

        return quick_run(argv)
    from softsgx.service.quick import quick_attached  # noqa: PLC0415 -- the same

    return quick_attached(platform, argv)
