"""Programs on a platform that a daemon owns."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from softsgx.service.control import Operator
from tests.conformance.run import SOFTSGX, run
from tests.conformance_sgx.build import Program
from tests.service.serving import PATIENCE_S, Served, daemon, new_platform

pytestmark = [pytest.mark.runner, pytest.mark.slow]
KEYS = Program("report_key", "dynamic")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    directory = new_platform(tmp_path_factory.mktemp("served") / "p")
    with daemon(directory) as one:
        yield one


def test_programs_of_many_runs_have_the_keys_of_one_platform(served: Served) -> None:
    first, second = served.run(KEYS.binary()), served.run(KEYS.binary())
    assert (first.code, first.stderr) == (0, "")
    exact = served.run(KEYS.binary(), options=("--exact",))
    assert first.stdout == second.stdout == exact.stdout
    alone = run([SOFTSGX, "run", "--", str(KEYS.binary())], served.directory)
    assert alone.code == 0


def test_a_tree_that_ends_leaves_nothing(served: Served) -> None:
    place = Path(f"/proc/{served.process.pid}")

    def has() -> dict[str, int]:
        return {what: len(list((place / what).iterdir())) for what in ("fd", "task")}

    def run_some() -> None:
        script = f"{KEYS.binary()} & {KEYS.binary()}; wait"
        assert served.run("/bin/sh", "-c", script).code == 0
        assert served.is_at_rest()

    run_some()
    last, before = has(), dict[str, int]()
    while last != before:  # a thread ends a little after its work
        time.sleep(0.2)
        last, before = has(), last
    for _ in range(3):
        run_some()
    end = time.monotonic() + PATIENCE_S
    while any(has()[what] > before[what] for what in before):
        assert time.monotonic() < end, (before, has())
        time.sleep(0.05)


def test_the_operator_hears_how_many_programs_there_are(served: Served) -> None:
    assert served.is_at_rest()
    with Operator(served.directory) as operator:
        answer = operator.ask("ping")
    assert answer["programs"] == 0
    assert answer["platform"] == str(served.directory)
