from pathlib import Path

import pytest
from click.testing import CliRunner

from softsgx.cli.failure import Failure
from softsgx.cli.platform import command
from softsgx.cli.transfer import PASSPHRASE
from softsgx.platform.platform import Platform


def call(*words: object, env: dict[str, str] | None = None) -> str:
    runner = CliRunner()
    done = runner.invoke(command, [str(word) for word in words], env=env)
    if isinstance(done.exception, Failure):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def test_out_and_in_again(tmp_path: Path) -> None:
    made = Platform.create(tmp_path / "a")
    file, word = tmp_path / "a.softsgx", tmp_path / "word"
    word.write_text("secret\nmore\n")
    said = call("export", tmp_path / "a", "-o", file, "--passphrase-file", word)
    assert said == f"{file}: {made.identity}\n"
    assert file.stat().st_mode & 0o777 == 0o600
    said = call("import", file, tmp_path / "b", env={PASSPHRASE: "secret"})
    assert said == f"{tmp_path / 'b'}: {made.identity}, off\n"


def test_one_line_says_what_is_wrong(tmp_path: Path) -> None:
    Platform.create(tmp_path / "a")
    file, empty = tmp_path / "a.softsgx", tmp_path / "empty"
    empty.write_text("\n")
    with pytest.raises(Failure, match=f"no passphrase: set {PASSPHRASE} or use"):
        call("export", tmp_path / "a", "-o", file)
    with pytest.raises(Failure, match="its first line is empty"):
        call("export", tmp_path / "a", "-o", file, "--passphrase-file", empty)
    call("export", tmp_path / "a", "-o", file, env={PASSPHRASE: "one"})
    with pytest.raises(Failure, match=r"a\.softsgx: wrong passphrase"):
        call("import", file, tmp_path / "b", env={PASSPHRASE: "two"})
