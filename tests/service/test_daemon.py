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
    served.run(KEYS.binary())

    def has() -> tuple[int, int]:
        return sum(1 for _ in (place / "fd").iterdir()), sum(
            1 for _ in (place / "task").iterdir()
        )

    def at_rest() -> tuple[int, int]:
        """A run ends before the daemon has tidied up."""
        last, now = (0, 0), has()
        while now != last:
            time.sleep(0.5)
            last, now = now, has()
        return now

    before = at_rest()
    for _ in range(3):
        served.run("/bin/sh", "-c", f"{KEYS.binary()} & {KEYS.binary()}; wait")
    end = time.monotonic() + PATIENCE_S
    while has() != before and time.monotonic() < end:
        time.sleep(0.05)
    assert has() == before


def test_the_operator_hears_how_many_programs_there_are(served: Served) -> None:
    with Operator(served.directory) as operator:
        answer = operator.ask("ping")
    assert answer["programs"] == 0
    assert answer["platform"] == str(served.directory)
