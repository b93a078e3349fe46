"""SGX programs see under softsgx what SGX hardware and Linux would show them.

Each is written for hardware and checks itself; normal and exact mode must agree.
"""

from functools import cache

import pytest
from _pytest.mark.structures import ParameterSet

from tests.conformance.run import SOFTSGX, Outcome, run
from tests.conformance_sgx.build import Program, programs

pytestmark = [pytest.mark.runner, pytest.mark.slow]
NOT_EMULATED = {
    "blocked_threads": "threads that blocked everything before the device was opened",
    "mapping_calls": "madvise and mremap of enclave mappings are not judged",
    "outside_touch": "no abort page for the host's own accesses",
}
"""What docs/not-emulated.md says does not work; the day it works, these fail."""

UNSTEADY = {"own_handlers": "a sent SIGILL and that of an ENCLU can be one"}
"""What docs/not-emulated.md says fails at times, in exact mode."""


def marked(program: Program, *, exact: bool) -> ParameterSet:
    name = program.name
    marks = []
    if name in NOT_EMULATED:
        marks.append(pytest.mark.xfail(strict=True, reason=NOT_EMULATED[name]))
    elif exact and name in UNSTEADY:
        marks.append(pytest.mark.xfail(strict=False, reason=UNSTEADY[name]))
    return pytest.param(program, marks=marks, id=f"{name}-{program.link}")


def every(*, exact: bool) -> pytest.MarkDecorator:
    params = [marked(program, exact=exact) for program in programs()]
    return pytest.mark.parametrize("program", params)


@cache
def outcome(program: Program, *options: str) -> Outcome:
    binary = program.binary()
    return run([SOFTSGX, "run", *options, "--", str(binary)], binary.parent)


@every(exact=False)
def test_the_program_passes(program: Program) -> None:
    assert outcome(program) == Outcome(0, outcome(program).stdout, "")


@every(exact=True)
def test_the_program_sees_the_same_in_exact_mode(program: Program) -> None:
    exact = outcome(program, "--exact")
    assert (exact.code, exact.stderr) == (0, "")
    assert exact.stdout == outcome(program).stdout
