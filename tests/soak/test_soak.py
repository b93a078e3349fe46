"""Some seconds of the soak of programs, and what it takes for a failure."""

import subprocess
from pathlib import Path
from random import Random  # noqa: TID251 -- told by its seed

import pytest

from tests.soak.programs import WRONG, Run, Soak, soak

SEED = 7


@pytest.mark.runner
@pytest.mark.slow
def test_programs_that_are_killed_on_a_small_epc_leave_nothing() -> None:
    done = soak(minutes=0.2, seed=SEED, daemon_dies=False)
    assert done.failures == []
    assert done.outcomes


def ended(code: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(["sh", "-c", f"exit {code}"])
    process.wait()
    return process


@pytest.mark.parametrize(
    ("code", "killed", "powerless", "fails"),
    [
        (0, False, False, False),
        (1, False, False, True),
        (1, True, False, False),
        (9, False, True, False),
        (WRONG, True, False, True),
        (WRONG, False, True, True),
    ],
)
def test_what_is_a_failure(
    tmp_path: Path, code: int, *, killed: bool, powerless: bool, fails: bool
) -> None:
    of = Soak(tmp_path, Random(SEED), lives=3)  # noqa: S311 -- as above
    life = 1 if powerless else 3
    Run(of, "keeper", ended(code), life, killed=killed).judge("words")
    assert bool(of.failures) == fails
    if fails:
        assert of.failures[0].endswith(": words")
