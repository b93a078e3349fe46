"""A slice of the chaos, and what it takes for a failure."""

from pathlib import Path
from random import Random  # noqa: TID251 -- a test's choices, told by their seed

import pytest

from tests.chaos import programs
from tests.chaos.programs import ALONE, Chaos, binaries, chaos

SEED = 7
SLICE = (
    "code_evicted",
    "edmm",
    "evicted",
    "fork_shared",
    "mapped_anew",
    "parallel",
    "rights_raced",
    "signals_inside",
    "vdso_exceptions",
)


@pytest.mark.runner
@pytest.mark.slow
def test_programs_pass_whatever_leaves_the_epc(tmp_path: Path) -> None:
    done = chaos(binaries(SLICE), SEED, tmp_path, most=len(SLICE))
    assert done.failures == []
    assert done.runs == len(SLICE)
    assert done.evictions > 0


def one(tmp_path: Path, script: str) -> tuple[Chaos, Path]:
    """Run a shell script as a program alone, and return where it left something."""
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    random = Random(SEED)  # noqa: S311 -- as above
    of = Chaos(tmp_path / "kept", random, [program])
    of.run(3, program, ALONE, SEED)
    return of, tmp_path / "kept" / "0003-program-alone"


@pytest.mark.runner
def test_who_ends_well_leaves_nothing(tmp_path: Path) -> None:
    of, place = one(tmp_path, "echo well")
    assert of.failures == []
    assert not place.exists()


@pytest.mark.runner
def test_another_exit_code_is_a_failure_and_so_is_a_word_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for script, said in (("exit 3", "3: nothing on stderr"), ("echo a >&2", "0: a")):
        of, place = one(tmp_path, script)
        assert of.failures == [f"program (alone): {said}: see {place}"]
        assert capsys.readouterr().out[9:] == f"chaos: FAILED: {of.failures[0]}\n"
        command = (place / "command").read_text()
        assert "tests.chaos.evicting 7 run" in command
        for file in place.iterdir():
            file.unlink()
        place.rmdir()


@pytest.mark.runner
def test_who_hangs_is_ended_and_it_is_kept_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "PATIENCE_S", 1.0)
    of, place = one(tmp_path, "sleep 100")
    assert of.failures == [f"program (alone): hangs: nothing on stderr: see {place}"]
    assert (place / "threads").read_text()
