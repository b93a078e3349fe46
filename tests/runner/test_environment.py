"""The program gets the environment that softsgx was given, nothing added."""

from pathlib import Path

import pytest

from tests.conformance.run import SOFTSGX, run

pytestmark = pytest.mark.runner


@pytest.mark.parametrize("given", [[], ["A=1"], ["B=x y", "LC_CTYPE=C"], ["EMPTY="]])
def test_the_environment_is_passed_on_as_it_is(
    tmp_path: Path, given: list[str]
) -> None:
    clean = ["/usr/bin/env", "-i", *given]
    done = run([*clean, SOFTSGX, "run", "--", "/usr/bin/env"], tmp_path)
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.splitlines() == given
