"""Commands that a test needs done: in its own process, which has started already."""

from pathlib import Path

from click.testing import CliRunner

from softsgx.cli.group import cli


def softsgx(*words: str | Path, warns: bool = False) -> str:
    """Have a command do its work, and return what it printed.

    Not for `run`, nor for what a process is asked for its code or its streams.
    """
    done = CliRunner().invoke(cli, [*map(str, words)], standalone_mode=False)
    assert (done.exception, bool(done.stderr)) == (None, warns), done.stderr
    return done.stdout


def new_platform(place: Path, *options: str | Path) -> Path:
    """Make a platform, and turn it on."""
    softsgx("platform", "new", place, *options)
    softsgx("platform", "enable", place)
    return place
