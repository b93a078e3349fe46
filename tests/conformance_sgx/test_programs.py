"""SGX programs see under softsgx what SGX hardware and Linux would show them.

Each is written for hardware and checks itself; normal and exact mode must agree.
`build.py` says which ways of linking and which modes a program runs in.
"""

from functools import cache
from pathlib import Path

import pytest

from tests.conformance.here import new_platform
from tests.conformance.run import SOFTSGX, Outcome, run
from tests.conformance_sgx.build import Program, is_for_both_modes, programs

pytestmark = [pytest.mark.runner, pytest.mark.slow]
ALL = programs()
BOTH = [program for program in ALL if is_for_both_modes(program)]


def name(program: Program) -> str:
    return f"{program.name}-{program.link}"


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One platform for both modes: what depends on its fuses must agree too."""
    return new_platform(tmp_path_factory.mktemp("platform") / "ours")


@cache
def outcome(program: Program, platform: Path, *options: str) -> Outcome:
    binary = program.binary()
    run_on = [SOFTSGX, "run", "--platform", str(platform), *options, "--"]
    return run([*run_on, str(binary)], binary.parent)


@pytest.mark.parametrize("program", ALL, ids=name)
def test_the_program_passes(program: Program, platform: Path) -> None:
    normal = outcome(program, platform)
    assert (normal.code, normal.stderr) == (0, "")


@pytest.mark.parametrize("program", BOTH, ids=name)
def test_the_program_sees_the_same_in_exact_mode(
    program: Program, platform: Path
) -> None:
    exact = outcome(program, platform, "--exact")
    assert (exact.code, exact.stderr) == (0, "")
    assert exact.stdout == outcome(program, platform).stdout


@pytest.mark.parametrize("mode", [(), ("--exact",)], ids=["normal", "exact"])
@pytest.mark.parametrize(
    "name",
    [
        "more_than_epc",
        "evicted",
        "look_from_outside",
        "look_at_large",
        "many_runs",
        "edmm",
        "fork_shared",
        "parallel",
        "code_evicted",
        "code_unmapped",
        "mapped_anew",
    ],
)
def test_it_passes_with_an_epc_that_is_too_small(
    name: str, mode: tuple[str, ...]
) -> None:
    binary = Program(name, "dynamic").binary()
    done = run([SOFTSGX, "run", "--epc", "1M", *mode, "--", str(binary)], binary.parent)
    assert (done.code, done.stderr) == (0, "")


def test_two_processes_share_an_epc_that_holds_neither_and_one_is_killed() -> None:
    binary = Program("more_than_epc", "dynamic").binary()
    script = f"{binary} & one=$!; {binary} & two=$!; sleep 1; kill -9 $one; wait $two"
    for _ in range(3):
        done = run(
            [SOFTSGX, "run", "--epc", "1M", "--", "sh", "-c", script], binary.parent
        )
        assert (done.code, done.stderr) == (0, "")


@pytest.mark.parametrize("mode", [(), ("--exact",)], ids=["normal", "exact"])
@pytest.mark.parametrize("name", ["forbidden", "time_stamp"])
def test_it_passes_without_sgx2_too(name: str, mode: tuple[str, ...]) -> None:
    binary = Program(name, "dynamic").binary()
    done = run([SOFTSGX, "run", "--no-sgx2", *mode, "--", str(binary)], binary.parent)
    assert (done.code, done.stderr) == (0, "")


@pytest.mark.parametrize("limit", ["-s 128", "-v 4000000", "-l 0", "-n 32"])
def test_it_passes_when_softsgx_was_given_little(limit: str) -> None:
    binary = Program("fork_shared", "dynamic").binary()
    script = f'ulimit {limit} && exec "$@"'
    under = ["bash", "-c", script, "bash", SOFTSGX, "run", "--", str(binary)]
    done = run(under, binary.parent)
    assert (done.code, done.stderr) == (0, "")
