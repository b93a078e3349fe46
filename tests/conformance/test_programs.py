"""Programs without SGX behave under softsgx as they do on plain Linux."""

from functools import cache
from pathlib import Path

import pytest

from tests.conformance.build import Program, programs
from tests.conformance.run import Outcome, run, under_softsgx

ALL = pytest.mark.parametrize("program", programs(), ids=lambda p: f"{p.name}-{p.link}")


@cache
def on_linux(program: Program) -> Outcome:
    binary = program.binary()
    return run([str(binary)], binary.parent)


@ALL
def test_the_program_passes_on_plain_linux(program: Program) -> None:
    outcome = on_linux(program)
    assert (outcome.code, outcome.stderr) == (0, "")


@pytest.mark.runner
@ALL
def test_the_program_behaves_alike_under_softsgx(program: Program) -> None:
    binary: Path = program.binary()
    outcome = run(under_softsgx(binary), binary.parent)
    assert (outcome.code, outcome.stderr) == (0, "")
    assert outcome.stdout == on_linux(program).stdout
