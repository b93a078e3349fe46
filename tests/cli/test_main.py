import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import click
import pytest

from softsgx import __version__
from softsgx import cli as cli_room
from softsgx.cli import failure as failing_room
from softsgx.cli import main
from softsgx.cli.failure import Failure, exit_reporting
from softsgx.cli.group import COMMANDS, cli


def run(
    command: click.Command, args: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> tuple[int, str]:
    with pytest.raises(SystemExit) as ended:
        exit_reporting(command, args)
    assert isinstance(ended.value.code, int)
    return ended.value.code, capsys.readouterr().err


def failing(error: BaseException) -> click.Command:
    @click.command
    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (Failure("no such\nthing", 125), 125, "softsgx: no such thing\n"),
        (FileNotFoundError(2, "No such file", "x"), 1, "softsgx: x: No such file\n"),
        (OSError("odd"), 1, "softsgx: odd\n"),
        (OSError(28, "No space"), 1, "softsgx: standard output: No space\n"),
        (KeyboardInterrupt(), 130, "\n"),
        (click.UsageError("bad"), 2, "softsgx: bad (see `softsgx --help`)\n"),
        (SystemExit(7), 7, ""),
    ],
)
def test_an_error_is_one_line_and_a_code(
    error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(failing(error), [], capsys) == (code, line)


def test_an_internal_error_names_its_log(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    code, said = run(failing(AssertionError("cssa")), [], capsys)
    (log,) = tmp_path.iterdir()
    assert code == 70
    assert said.count("\n") == 1
    assert said.startswith("softsgx: internal error: AssertionError: cssa")
    assert str(log) in said
    assert "Traceback" in log.read_text()
    assert log.stat().st_mode & 0o777 == 0o600


def test_an_internal_error_without_room_for_its_log_is_one_line_too(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", "/nowhere/at/all")
    code, said = run(failing(KeyError("x")), [], capsys)
    assert code == 70
    assert "no log" in said
    assert said.count("\n") == 1


def test_a_wrong_option_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = run(cli, ["doctor", "--what"], capsys)
    assert code == 2
    assert said.startswith("softsgx: No such option '--what' (see ")
    assert "softsgx doctor --help" in said


def test_an_unknown_command_is_a_usage_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, said = run(cli, ["sing"], capsys)
    assert code == 2
    assert "No such command" in said


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert __version__ in capsys.readouterr().out


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_explains_itself(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert "Usage: softsgx" in capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["platform"], ["policy"]])
def test_a_group_without_a_command_explains_itself(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = run(cli, words, capsys)
    assert code == 2
    assert said.startswith("Usage: softsgx")
    assert "\n\nCommands:\n" in said


@pytest.mark.parametrize(
    "words", [[], ["platform"], ["cgroup"], ["guest"], ["policy"], ["audit"]]
)
def test_what_a_command_does_is_said_whole_in_a_list(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([*words, "--help"])
    _, _, listed = capsys.readouterr().out.partition("Commands:")
    assert len(listed.splitlines()) > 2
    assert "..." not in listed


def test_a_closed_pipe_is_no_error_message() -> None:
    read, write = os.pipe()
    os.close(read)
    result = subprocess.run(
        [sys.executable, "-m", "softsgx", "doctor", "--json"],
        stdout=write,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(write)
    assert result.returncode == 1
    assert result.stderr == b""


def test_the_command_line_imports_little() -> None:
    code = "import sys, softsgx.cli; print(*(m for m in sys.modules if '.' in m))"
    command = [sys.executable, "-c", code]
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    ours = {name for name in out.split() if name.startswith("softsgx.")}
    assert ours == {"softsgx.cli"}


@pytest.mark.parametrize(
    ("words", "short"),
    [
        (["prog", "-c"], (None, ["prog", "-c"])),
        (["--", "prog", "--", "x"], (None, ["prog", "--", "x"])),
        (["--platform", "lab", "prog", "x"], ("lab", ["prog", "x"])),
        (["--platform", "./lab", "--", "prog"], ("./lab", ["prog"])),
    ],
)
def test_a_run_without_other_options_comes_the_short_way(
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    short: tuple[str | None, list[str]],
) -> None:
    seen: list[object] = []
    monkeypatch.setattr(cli_room, "_run_quickly", lambda *what: seen.append(what))
    monkeypatch.setattr(failing_room, "exit_reporting", lambda *_: None)
    main(["run", *words])
    main(["--handed", "7", "run", *words])
    assert seen == [(None, *short), (7, *short)]


@pytest.mark.parametrize(
    "words",
    [[], ["--exact", "prog"], ["--platform"], ["--platform", "lab", "--exact", "prog"]],
)
def test_any_other_run_comes_the_long_way(
    monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    seen: list[object] = []
    monkeypatch.setattr(cli_room, "_run_quickly", lambda *what: seen.append(what))
    monkeypatch.setattr(failing_room, "exit_reporting", lambda *_: None)
    main(["run", *words])
    assert not seen
