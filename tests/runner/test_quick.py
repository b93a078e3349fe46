"""A run without options: the short way, and when it is not taken."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from softsgx.native.kept_config import key_of, recall, word_of
from softsgx.runner import quick
from softsgx.runner.loop import Loop
from softsgx.runner.run import OutOfDate, plain_sgx
from softsgx.runner.task.turn import Turn

SHOW = """
import os, sys
def leave(code):
    from softsgx.native.plain import served
    print(code, *sys.modules, "served:" + ",".join(map(str, served())))
    sys.stdout.flush()
    os.kill(os.getpid(), 9)
os._exit = leave
from softsgx.cli import main
main(["run", *sys.argv[1:]])
"""
SLOW = {
    *("click", "typing", "dataclasses", "pathlib", "json", "inspect", "capstone"),
    *("signal", "enum", "collections", "functools", "contextlib", "resource"),
}


def modules(home: Path, *words: str) -> set[str]:
    """Return the code and the modules of a run that went the short way."""
    command = [sys.executable, "-I", "-c", SHOW, *words]
    environ = {**os.environ, "XDG_CACHE_HOME": str(home)}
    done = subprocess.run(
        command, env=environ, check=False, capture_output=True, text=True
    )
    return set(done.stdout.split())


@pytest.fixture
def warm(tmp_path: Path) -> Path:
    assert modules(tmp_path, "--", "sh", "-c", "true") == set()
    return tmp_path


@pytest.mark.runner
def test_a_run_without_options_imports_little(warm: Path) -> None:
    seen = modules(warm, "--", "sh", "-c", "exit 7")
    assert "7" in seen
    assert not seen & SLOW
    assert not {name for name in seen if name.startswith("softsgx.machine")}


@pytest.mark.runner
def test_programs_without_sgx_need_no_python(warm: Path) -> None:
    shell = "for i in 1 2 3 4 5; do /bin/cat /dev/null; done"
    modules(warm, "--", "sh", "-c", shell)
    seen = modules(warm, "--", "sh", "-c", shell)
    assert "softsgx.runner.supervisor" not in seen
    (counts,) = (name for name in seen if name.startswith("served:"))
    execs, starts, others = map(int, counts.removeprefix("served:").split(","))
    assert (execs, starts) == (6, 6)
    # Each asks about the C library, in which calls about paths are to jump.
    assert others <= 7


@pytest.mark.runner
@pytest.mark.parametrize("words", [("--exact", "true"), ("--", "no-such-program")])
def test_everything_else_goes_the_long_way(warm: Path, words: tuple[str, ...]) -> None:
    assert modules(warm, *words) == set()


@pytest.mark.runner
def test_what_cannot_be_executed_is_said_in_one_line(warm: Path) -> None:
    broken = warm / "broken"
    broken.write_text("no program\n")
    broken.chmod(0o755)
    environ = {**os.environ, "XDG_CACHE_HOME": str(warm)}
    command = [sys.executable, "-m", "softsgx", "run", str(broken)]
    done = subprocess.run(
        command, env=environ, check=False, capture_output=True, text=True
    )
    assert done.returncode == 126
    assert done.stderr == f"softsgx: {broken}: Exec format error\n"


def test_a_configuration_is_kept_for_these_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    started: list[bytes] = []

    def start(argv: list[str], config: bytes, *_: object, **__: object) -> int:
        started.append(config)
        return len(argv)

    monkeypatch.setattr(quick, "start", start)
    assert quick.quick_run(["true"]) is None
    quick.keep_config(b"configuration", rewrite_cpuid=True)
    assert quick.quick_run(["true", "x"]) == 2
    assert started == [b"configuration"]
    quick.keep_config(b"other", rewrite_cpuid=True)
    assert quick.quick_run(["true"]) == 1
    assert started == [b"configuration", b"other"]


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    root = tmp_path / "with a space, and a comma"
    (root / "room").mkdir(parents=True)
    (root / "room" / "file.py").write_text("content")
    return root


def kept_lines(root: Path, checker: Path) -> bytes:
    places = [str(root.parent), "/dev/no such file"]
    files = ["room/file.py", "room/gone.py"]
    word = word_of(b"config", "code", places, str(root), files)
    return f"{key_of(str(checker))} {word}\n".encode()


def test_a_line_holds_while_nothing_changes(ours: Path, tmp_path: Path) -> None:
    checker = tmp_path / "checker"
    checker.write_text("built")
    lines = b"torn\n" + kept_lines(ours, checker)
    assert recall(str(checker), lines) == (b"config", True)
    assert recall(str(ours), lines) is None
    assert recall(str(tmp_path / "none"), lines) is None


def another_file(ours: Path) -> None:
    (ours / "room" / "gone.py").write_text("")


def another_content(ours: Path) -> None:
    (ours / "room" / "file.py").write_text("contents")


def another_place(ours: Path) -> None:
    ours.parent.rename(ours.parent.with_name("away"))
    ours.mkdir(parents=True)
    moved = ours.parent.with_name("away")
    (moved / ours.name / "room").rename(ours / "room")
    (moved / "checker").rename(ours.parent / "checker")


@pytest.mark.parametrize("change", [another_file, another_content, another_place])
def test_a_line_holds_no_more_after_a_change(
    ours: Path, change: Callable[[Path], None]
) -> None:
    checker = ours.parent / "checker"
    checker.write_text("built")
    lines = kept_lines(ours, checker)
    change(ours)
    assert recall(str(checker), lines) is None


def test_a_line_that_was_changed_does_not_hold(ours: Path, tmp_path: Path) -> None:
    checker = tmp_path / "checker"
    checker.write_text("built")
    lines = kept_lines(ours, checker)
    for at in range(lines.index(b" ") + 1, len(lines) - 1):
        assert recall(str(checker), lines[:at] + b"?" + lines[at + 1 :]) is None
        assert recall(str(checker), lines[:at] + b"\n") is None


def test_a_configuration_that_was_cut_short_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    quick.keep_config(b"configuration", rewrite_cpuid=True)
    path = next((tmp_path / "softsgx").iterdir())
    path.write_bytes(path.read_bytes()[:-3] + b"\n")
    assert quick.quick_run(["true"]) is None


def test_what_was_kept_of_another_machine_is_not_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    turn = Turn()
    with pytest.raises(OutOfDate, match="run again"):
        plain_sgx(Loop(last=0), turn, b"of another machine")
