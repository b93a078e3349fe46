"""Suites are had once a run; the closing words say what was run and what was not."""

import sys

import pytest

from tests.acceptance.kernel_source import (
    Suite,
    SuiteMissing,
    newest_suite,
    pinned_suite,
)

NOT_RUN: list[str] = []
TIMES: list[str] = []


@pytest.fixture(scope="session")
def suite_pinned() -> Suite:
    """The 6.1 suite; a run without it has failed."""
    try:
        return pinned_suite()
    except SuiteMissing as exc:
        pytest.fail(f"the 6.1 suite is missing: {exc}", pytrace=False)


@pytest.fixture(scope="session")
def suite_newest() -> Suite:
    """The newest kernel's suite, where it can be had."""
    try:
        return newest_suite()
    except SuiteMissing as exc:
        NOT_RUN.append(str(exc))
        pytest.skip(f"THE NEWEST SUITE WAS NOT RUN: {exc}")


@pytest.fixture
def suite(request: pytest.FixtureRequest) -> Suite:
    """The suite that a test names by its fixture."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, Suite)
    return found


@pytest.fixture
def times() -> list[str]:
    """Lines for the closing table."""
    return TIMES


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print how long each suite took."""
    if TIMES:
        terminalreporter.section("the kernel's own selftest")
    for line in TIMES:
        terminalreporter.line(line)


def pytest_unconfigure() -> None:
    """Make a suite that was not run the last thing that anybody reads."""
    if NOT_RUN:
        reason = NOT_RUN[0].upper()
        sys.stdout.write(f"\nTHE NEWEST KERNEL'S SUITE WAS NOT RUN: {reason}\n")
        sys.stdout.flush()
