"""A run begins without Python, and becomes Python for what needs it: one process."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conformance.run import SOFTSGX
from tests.house.tree import ROOT

COMMAND = Path(SOFTSGX)
PYTHON = os.path.realpath(sys.executable)
WHO = "readlink /proc/$PPID/exe"
OPEN = "exec 3<>/dev/sgx_enclave"
PATIENCE_S = 60

pytestmark = pytest.mark.runner


class Runs:
    """Runs of the command with a cache directory of their own."""

    def __init__(self, home: Path) -> None:
        self.environ = {**os.environ, "XDG_CACHE_HOME": str(home)}
        assert self.run("true").returncode == 0
        # What a run finds out is kept for the next: libraries and programs of a shell.
        assert self.run(f"{OPEN}; {WHO}").returncode == 0

    def run(self, shell: str) -> "subprocess.CompletedProcess[str]":
        """Run a shell to its end."""
        return self.command(COMMAND, "run", "--", "/bin/sh", "-c", shell)

    def command(self, *words: str | Path) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end."""
        return subprocess.run(
            words,
            env=self.environ,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE_S,
        )


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("cache"))


def test_the_command_is_the_program_that_was_built() -> None:
    assert COMMAND.read_bytes() == (ROOT / "build" / "native" / "softsgx").read_bytes()
    assert "import main" in COMMAND.with_name("softsgx-python").read_text()


def test_a_program_without_sgx_has_no_python_above_it(runs: Runs) -> None:
    done = runs.run(f"{WHO}; exit 7")
    assert (done.stdout, done.stderr, done.returncode) == (f"{COMMAND}\n", "", 7)


def test_the_first_use_of_sgx_makes_python_of_the_same_process(runs: Runs) -> None:
    done = runs.run(f"{WHO}; echo $PPID; {OPEN}; {WHO}; echo $PPID; {OPEN}; exit 8")
    before, pid, after, same, *rest = done.stdout.splitlines()
    assert (before, after, same, rest) == (str(COMMAND), PYTHON, pid, [])
    assert (done.stderr, done.returncode) == ("", 8)


def test_many_first_calls_at_once_are_all_answered(runs: Runs) -> None:
    one = f"({OPEN}; cat /dev/null; echo opened) &"
    done = runs.run(f"{one * 12} wait; {WHO}")
    assert done.stdout.split() == ["opened"] * 12 + [PYTHON]


@pytest.mark.parametrize("before", [":", OPEN])
def test_a_run_dies_as_its_program_did(runs: Runs, before: str) -> None:
    done = runs.run(f"{before}; kill -KILL $$")
    assert (done.returncode, done.stderr) == (-signal.SIGKILL, "")


@pytest.mark.parametrize("before", [":", OPEN])
def test_signals_are_passed_on(runs: Runs, before: str) -> None:
    shell = f"trap 'echo told; exit 5' TERM; {before}; echo ready; while :; do :; done"
    with subprocess.Popen(
        [COMMAND, "run", "--", "/bin/sh", "-c", shell],
        env=runs.environ,
        text=True,
        stdout=subprocess.PIPE,
    ) as run:
        assert run.stdout
        assert run.stdout.readline() == "ready\n"
        run.terminate()
        assert run.stdout.read() == "told\n"
        assert run.wait(PATIENCE_S) == 5


@pytest.mark.parametrize("before", [":", OPEN])
def test_what_a_program_left_behind_is_served_on(
    runs: Runs, tmp_path: Path, before: str
) -> None:
    go, said = tmp_path / "go", tmp_path / "said"
    wait = f"until test -e {go}; do sleep 0.01; done"
    left = f"{wait}; {OPEN}; cat /dev/null; echo served > {said}.new"
    left = f"({left}; mv {said}.new {said}) > /dev/null 2>&1 &"
    assert runs.run(f"{before}; {left} exit 4").returncode == 4
    go.touch()
    latest = time.monotonic() + PATIENCE_S
    while not said.exists() and time.monotonic() < latest:
        time.sleep(0.01)
    assert said.read_text() == "served\n"


def test_what_cannot_be_executed_is_said_as_ever(runs: Runs, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("no program\n")
    broken.chmod(0o755)
    done = runs.command(COMMAND, "run", "--", broken)
    assert done.stderr == f"softsgx: {broken}: Exec format error\n"
    assert done.returncode == 126


def test_without_the_script_nothing_begins(runs: Runs, tmp_path: Path) -> None:
    alone = tmp_path / "softsgx"
    shutil.copy(COMMAND, alone)
    done = runs.command(alone, "run", "true")
    said = f"softsgx: {alone}-python: No such file or directory (install softsgx again)"
    assert (done.stderr, done.returncode) == (f"{said}\n", 125)


@pytest.mark.parametrize("number", ["0", "99", "x"])
def test_nobody_can_say_that_a_run_was_begun(runs: Runs, number: str) -> None:
    done = runs.command(COMMAND, "--handed", number, "run", "true")
    assert done.returncode == 2
    assert "No such option" in done.stderr
