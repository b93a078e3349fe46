"""Programs without SGX behave under softsgx as they do on plain Linux."""

from functools import cache
from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet

from tests.conformance.build import Program, programs
from tests.conformance.run import Outcome, run, under_softsgx

NOT_EMULATED: dict[str, str] = {}
"""What docs/not-emulated.md says does not work; the day it works, these fail."""


def name(program: Program) -> str:
    return f"{program.name}-{program.link}"


def expected() -> list[ParameterSet]:
    """Every program, with a mark where it cannot pass under softsgx."""
    return [
        pytest.param(
            program,
            marks=[pytest.mark.xfail(strict=True, reason=NOT_EMULATED[program.name])]
            if program.name in NOT_EMULATED
            else [],
        )
        for program in programs()
    ]


ALL = pytest.mark.parametrize("program", programs(), ids=name)


@cache
def on_linux(program: Program) -> Outcome:
    binary = program.binary()
    return run([str(binary)], binary.parent)


@ALL
def test_the_program_passes_on_plain_linux(program: Program) -> None:
    outcome = on_linux(program)
    assert (outcome.code, outcome.stderr) == (0, "")


@pytest.mark.runner
@pytest.mark.parametrize("program", expected(), ids=name)
def test_the_program_behaves_alike_under_softsgx(program: Program) -> None:
    binary: Path = program.binary()
    outcome = run(under_softsgx(binary), binary.parent)
    assert (outcome.code, outcome.stderr) == (0, "")
    assert outcome.stdout == on_linux(program).stdout
