"""CREATE's backing_fd: a file of the program's for what the EPC does not hold."""

import re
from pathlib import Path

import pytest

from tests.conformance.here import new_platform, softsgx
from tests.conformance.run import SOFTSGX, Outcome, run
from tests.conformance_sgx.build import HERE, Program

pytestmark = [pytest.mark.runner, pytest.mark.slow]
MODE = pytest.mark.parametrize("mode", [(), ("--exact",)], ids=["normal", "exact"])
LOST = re.compile(
    r"softsgx: pid \d+: a page of an enclave is lost: page 0x[0-9a-f]+: ELDU: [^\n]+\n"
)
STUCK = re.compile(
    r"softsgx: pid \d+: pages of an enclave stay in the EPC: its backing file takes no"
    r" more: Operation not permitted\n"
)


def backing(what: str, *options: str) -> Outcome:
    binary = Program("backing", "dynamic", HERE / "paging").binary()
    under = [SOFTSGX, "run", "--epc", "1M", *options, "--"]
    return run([*under, str(binary), what], binary.parent)


@MODE
@pytest.mark.parametrize("what", ["whole", "refused"])
def test_a_file_is_used_or_refused(what: str, mode: tuple[str, ...]) -> None:
    done = backing(what, *mode)
    assert (done.code, done.stderr) == (0, "")


@pytest.mark.parametrize("what", ["flip", "exchange", "cut", "replay"])
def test_who_spoils_it_loses_pages_and_nobody_else_does(what: str) -> None:
    done = backing(what)
    assert (done.code, bool(LOST.fullmatch(done.stderr))) == (0, True), done.stderr


def test_one_that_takes_no_more_keeps_its_pages_in_the_epc() -> None:
    done = backing("stuck")
    assert (done.code, bool(STUCK.fullmatch(done.stderr))) == (0, True), done.stderr


def test_the_audit_log_has_a_line(tmp_path: Path) -> None:
    place = new_platform(tmp_path / "platform", "--epc", "1M")
    binary = Program("backing", "dynamic", HERE / "paging").binary()
    under = [SOFTSGX, "run", "--platform", str(place), "--", str(binary), "flip"]
    assert run(under, binary.parent).code == 0
    found = softsgx("audit", "tail", "--platform", place)
    assert found.count("MAC_COMPARE_FAIL") == 1, found
