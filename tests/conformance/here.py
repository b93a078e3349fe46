"""Commands that a test needs done: in its own process, which has started already."""

from pathlib import Path

from click.testing import CliRunner

from softsgx.cli.group import cli


def softsgx(*words: str | Path, is_silent: bool = False) -> str:
    """Have a command do its work, and return what it printed; it may warn.

    Not for `run`, nor for what a process is asked for its code or its streams.
    """
    done = CliRunner().invoke(cli, [*map(str, words)], standalone_mode=False)
    assert done.exception is None, done.stderr
    assert not (is_silent and done.stderr), done.stderr
    return done.stdout


def new_platform(place: Path, *options: str | Path) -> Path:
    """Make a platform, and turn it on."""
    softsgx("platform", "new", place, *options)
    softsgx("platform", "enable", place)
    return place
