"""Without privileges softsgx cannot look at every process: it says so, and goes on."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.run import ANYBODYS, SOFTSGX, Outcome, run
from tests.conformance_sgx.build import BUILT, Program
from tests.runner.build import program

NOBODY = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
MAY_SETUID = ["--inh-caps", "+setuid", "--ambient-caps", "+setuid"]

pytestmark = [
    pytest.mark.runner,
    pytest.mark.skipif(
        os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root, setpriv"
    ),
]


@pytest.fixture
def anywhere() -> Iterator[Path]:
    """A directory that nobody may enter too."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)  # noqa: PTH101 -- a directory of this test
        if run([*NOBODY, ANYBODYS, "--version"], Path(name)).code:
            pytest.skip("nobody may not run this softsgx")
        yield Path(name)


def as_nobody(where: Path, *command: str, options: tuple[str, ...] = ()) -> Outcome:
    return run([*NOBODY, *options, ANYBODYS, "run", "--", *command], where)


def test_a_program_that_may_not_be_read_ends_and_its_parent_goes_on(
    anywhere: Path,
) -> None:
    binary = anywhere / "unreadable"
    shutil.copy("/bin/true", binary)
    binary.chmod(0o111)
    outcome = as_nobody(anywhere, "sh", "-c", f"{binary}; echo $?")
    assert (outcome.code, outcome.stdout) == (0, "137\n")
    assert "cannot put the agent in" in outcome.stderr
    assert "ended after" not in outcome.stderr


def test_a_program_that_becomes_another_user_ends_with_one_line(anywhere: Path) -> None:
    binary = str(program("drop_user"))
    assert run([SOFTSGX, "run", "--", binary], anywhere).stdout == "survived\n"
    outcome = as_nobody(anywhere, binary, options=tuple(MAY_SETUID))
    assert outcome.code == 70
    assert outcome.stderr == (
        "softsgx: a process that changed its user can use enclaves only if softsgx "
        "has privileges\n"
    )


def test_guests_are_anybodys(anywhere: Path) -> None:
    binary = str(Program("more_than_epc", "dynamic").binary())
    mine, place = anywhere / "mine", str(anywhere / "mine" / "p")
    mine.mkdir()
    shutil.chown(mine, 65534, 65534)

    def softsgx(*words: str) -> Outcome:
        done = run([*NOBODY, ANYBODYS, *words], BUILT)
        assert done.code == 0, done.stderr
        return done

    softsgx("platform", "new", place, "--epc", "8M")
    softsgx("platform", "enable", place)
    where = ("--platform", place)
    softsgx("policy", "guest", "big", "--oversubscribe", "yes", *where)
    for name, size in (("small", "4M"), ("big", "16M")):
        softsgx("guest", "new", name, "--epc", size, *where)
        softsgx("guest", "start", name, *where)
        softsgx("run", *where, "--guest", name, "--", binary)
    softsgx("guest", "reset", "big", *where)
    softsgx("guest", "stop", "big", *where)
