"""SGX programs see under softsgx what SGX hardware and Linux would show them.

Each is written for hardware and checks itself; normal and exact mode must agree.
"""

from functools import cache

import pytest

from tests.conformance.run import SOFTSGX, Outcome, run
from tests.conformance_sgx.build import Program, programs

pytestmark = [pytest.mark.runner, pytest.mark.slow]
ALL = pytest.mark.parametrize("program", programs(), ids=lambda p: f"{p.name}-{p.link}")


@cache
def outcome(program: Program, *options: str) -> Outcome:
    binary = program.binary()
    return run([SOFTSGX, "run", *options, "--", str(binary)], binary.parent)


@ALL
def test_the_program_passes(program: Program) -> None:
    assert outcome(program) == Outcome(0, outcome(program).stdout, "")


@ALL
def test_the_program_sees_the_same_in_exact_mode(program: Program) -> None:
    exact = outcome(program, "--exact")
    assert (exact.code, exact.stderr) == (0, "")
    assert exact.stdout == outcome(program).stdout
