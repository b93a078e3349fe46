"""Programs that mean harm: softsgx neither fails nor hangs, and harms nobody else."""

import secrets
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conformance.run import SOFTSGX, Outcome, run
from tests.conformance_sgx.build import Program
from tests.runner.build import BUILT, program

pytestmark = [pytest.mark.runner, pytest.mark.slow]


def hostile(name: str, *arguments: str, options: tuple[str, ...] = ()) -> Outcome:
    binary = program(name)
    return run([SOFTSGX, "run", *options, "--", str(binary), *arguments], BUILT)


def assert_survived(outcome: Outcome) -> None:
    ours = outcome.stderr.replace("internal error: the agent faulted", "")
    assert "Traceback" not in ours
    assert "internal error: " not in ours
    assert (outcome.code, outcome.stdout) == (0, "survived\n"), outcome.stderr


@pytest.mark.parametrize("mode", [(), ("--exact",)], ids=["normal", "exact"])
@pytest.mark.parametrize("name", ["bad_ioctls", "file_tricks", "no_agent"])
def test_the_supervisor_survives(name: str, mode: tuple[str, ...]) -> None:
    assert_survived(hostile(name, options=mode))


def test_any_call_with_any_arguments() -> None:
    seed = str(secrets.randbelow(1 << 32))
    outcome = hostile("raw_calls", seed, "10")
    assert_survived(Outcome(outcome.code, outcome.stdout, f"{outcome.stderr} {seed=}"))


def test_calls_that_once_broke_something() -> None:
    assert_survived(hostile("raw_calls", "1", "10"))


def test_death_in_the_middle_of_anything() -> None:
    seed = str(secrets.randbelow(1 << 32))
    outcome = hostile("sudden_death", seed)
    assert_survived(Outcome(outcome.code, outcome.stdout, f"{outcome.stderr} {seed=}"))


def test_another_tree_does_not_notice() -> None:
    calm = Program("entry", "dynamic").binary()
    program("raw_calls")
    with ThreadPoolExecutor() as pool:
        storm = pool.submit(hostile, "raw_calls", "7", "5")
        while True:
            outcome = run([SOFTSGX, "run", "--", str(calm)], calm.parent)
            assert (outcome.code, outcome.stderr) == (0, "")
            if storm.done():
                break
        assert_survived(storm.result())
