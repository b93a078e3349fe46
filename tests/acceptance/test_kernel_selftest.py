"""The kernel's own SGX selftest passes under softsgx, and fails when it should."""

import os
import statistics
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.kernel_selftest import (
    EXACT,
    MASKED,
    NO_SGX2,
    keep,
    run_program,
    run_suite,
    softsgx,
)
from tests.acceptance.kernel_source import Suite

RUNS = int(os.environ.get("SELFTEST_RUNS", "3"))
EXACT_RUNS = int(os.environ.get("SELFTEST_EXACT_RUNS", "1"))
BOTH = pytest.mark.parametrize("suite", ["suite_pinned", "suite_newest"], indirect=True)
pytestmark = [pytest.mark.acceptance, pytest.mark.runner]

SEES_THE_SGX_BIT = {
    "epcm_permissions",
    "augment",
    "remove_added_page_invalid_access",
    "remove_added_page_invalid_access_after_eaccept",
}
PROGRAMS = Path(__file__).parent / "programs"


def passes(suite: Suite, count: int, label: str, times: list[str], *mode: str) -> None:
    seconds = []
    for turn in range(1, count + 1):
        run = run_suite(suite, *mode)
        if complaint := run.complaint():
            log = keep(run, suite, label)
            pytest.fail(f"run {turn} of {count}: {complaint}; see {log}", pytrace=False)
        seconds.append(run.seconds)
    times.append(
        f"{suite.package} {suite.version}, {label}: {count} of {count} runs passed, "
        f"median {statistics.median(seconds):.2f} s, "
        f"{min(seconds):.2f} to {max(seconds):.2f} s"
    )


@BOTH
def test_the_suite_passes_in_normal_mode(suite: Suite, times: list[str]) -> None:
    passes(suite, RUNS, "normal", times)


@BOTH
def test_the_suite_passes_in_exact_mode(suite: Suite, times: list[str]) -> None:
    passes(suite, EXACT_RUNS, "exact", times, *EXACT)


@BOTH
def test_the_suite_fails_when_page_faults_lose_their_sgx_bit(suite: Suite) -> None:
    run = run_suite(suite, *MASKED)
    log = keep(run, suite, "masked")
    assert run.failed >= SEES_THE_SGX_BIT, log
    assert run.passed >= {"unclobbered_vdso", "clobbered_vdso", "tcs_entry"}, log


@BOTH
def test_without_sgx2_the_suite_skips_and_so_does_not_count(suite: Suite) -> None:
    run = run_suite(suite, *NO_SGX2)
    assert run.skipped >= {"augment", "augment_via_eaccept"}, keep(run, suite, "sgx1")
    assert run.complaint().startswith("last line is")


@pytest.fixture(scope="session")
def edmm_probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    binary = tmp_path_factory.mktemp("edmm") / "edmm"
    source = PROGRAMS / "edmm.c"
    subprocess.run(["gcc", "-Wall", "-Werror", source, "-o", binary], check=True)
    return binary


@pytest.mark.parametrize(
    ("options", "errno_name"), [(NO_SGX2, "ENODEV"), ((), "EINVAL")]
)
def test_edmm_ioctls_without_sgx2_return_enodev(
    edmm_probe: Path, options: tuple[str, ...], errno_name: str
) -> None:
    command = [softsgx(), "run", *options, "--", str(edmm_probe)]
    run = run_program(command, edmm_probe.parent)
    expected = [
        f"{name} {errno_name}"
        for name in ("RESTRICT_PERMISSIONS", "MODIFY_TYPES", "REMOVE_PAGES")
    ]
    assert run.output.splitlines() == expected
    assert run.code == 0
