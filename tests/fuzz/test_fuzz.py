"""A short, repeatable part of `make fuzz`: the rules hold in every quiet moment."""

import re
import subprocess
import sys

import pytest

from tests.conformance.run import PATIENCE_S
from tests.house.tree import ROOT

pytestmark = [pytest.mark.runner, pytest.mark.slow]
ROUNDS = 2
"""`make fuzz` goes on for a minute."""


def fuzz(*options: str) -> subprocess.CompletedProcess[str]:
    by = f"--seconds={PATIENCE_S}"
    return subprocess.run(
        [sys.executable, "-m", "tests.fuzz.harness", by, *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=PATIENCE_S,
        check=False,
    )


@pytest.mark.parametrize("mode", [(), ("--exact",)], ids=["normal", "exact"])
def test_nothing_is_left_and_nobody_else_suffers(mode: tuple[str, ...]) -> None:
    done = fuzz("--seed", "1", "--rounds", str(ROUNDS), *mode)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "internal error" not in done.stderr, done.stderr
    last = re.fullmatch(r"fuzz: (\d+) rounds, (\d+) acts", done.stderr.splitlines()[-1])
    assert last
    assert int(last[1]) == ROUNDS
    assert int(last[2]) > 100


def test_a_broken_rule_is_noticed() -> None:
    done = fuzz("--seed", "1", "--rounds", "1", "--break")
    assert done.returncode == 3
    assert "enclave" in done.stderr
