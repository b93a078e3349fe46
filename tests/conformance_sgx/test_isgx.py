"""/dev/isgx: programs for a machine whose launch control is locked.

Its launch key is that of the enclaves' signer, so that they need no token.
"""

from pathlib import Path

import pytest

from tests.conformance.here import new_platform
from tests.conformance.run import SOFTSGX, Outcome, run
from tests.conformance_sgx.build import BUILT, HERE, LINKS, PROGRAMS, Program

pytestmark = [pytest.mark.runner, pytest.mark.slow]
ISGX = HERE / "isgx"
SIG = BUILT / "enclave" / "3.sig"
MODE = pytest.mark.parametrize("mode", [(), ("--exact",)], ids=["normal", "exact"])
OWN = [
    ("mappings", "dynamic"),
    ("mappings", "static"),
    ("mappings", "static-pie"),
    ("ioctls", "dynamic"),
    ("ioctls", "static"),
    ("ioctls", "static-pie"),
    ("come_and_go", "dynamic"),
]
SHARED = ["contexts", "own_enclu", "parallel", "report_key", "signals_inside"]
"""Of the other device's programs, some that ask nothing which only that one has."""


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("platform") / "locked"
    Program("ioctls", "dynamic", ISGX).binary()
    cpu = ("--cpu", "skylake-client", "--launch-key", str(SIG))
    return new_platform(place, *cpu)


def under(place: Path, program: Program, mode: tuple[str, ...]) -> Outcome:
    binary = program.binary()
    run_on = [SOFTSGX, "run", "--platform", str(place), *mode, "--"]
    return run([*run_on, str(binary)], binary.parent)


@MODE
@pytest.mark.parametrize(("name", "link"), OWN)
def test_the_program_passes(
    name: str, link: str, mode: tuple[str, ...], locked: Path
) -> None:
    assert link in LINKS
    done = under(locked, Program(name, link, ISGX), mode)
    assert (done.code, done.stderr) == (0, "")


@MODE
@pytest.mark.parametrize("name", SHARED)
def test_a_program_of_the_other_device_passes_too(
    name: str, mode: tuple[str, ...], locked: Path
) -> None:
    assert (PROGRAMS / f"{name}.c").exists()
    done = under(locked, Program(name, "dynamic"), mode)
    assert (done.code, done.stderr) == (0, "")
