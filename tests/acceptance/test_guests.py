"""The kernel's own SGX selftest in two guests and on their host, all at once."""

import json
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.kernel_selftest import TOTALS, Run, keep, run_program, softsgx
from tests.acceptance.kernel_source import Suite
from tests.service.serving import daemon

pytestmark = [pytest.mark.acceptance, pytest.mark.runner]
MIB = 1 << 20
Sample = dict[str, Any]
SIZES = {"one": 40, "two": 40, "": 128}
"""MiB that each finds, the host by no name."""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path / "platform"
    made = [
        ("platform", "new", str(place), "--epc", f"{SIZES['']}M"),
        ("platform", "enable", str(place)),
    ]
    for name, kvm in (("one", "6.12"), ("two", "6.1")):
        on, epc = ("--platform", str(place)), f"{SIZES[name]}M"
        made.append(("guest", "new", name, "--epc", epc, "--kvm", kvm, *on))
        made.append(("guest", "start", name, *on))
    for words in made:
        subprocess.run([softsgx(), *words], check=True)
    return place


def samples(place: Path, running: list[Future[Run]]) -> Iterator[Sample]:
    """Look at the EPC of a daemon, while somebody works there."""
    words = ("top", "--json", "-n", "1", "--delay", "0.5", "--platform", str(place))
    while not all(one.done() for one in running):
        told = subprocess.run([softsgx(), *words], check=True, capture_output=True)
        yield json.loads(told.stdout)


def check_sum(sample: Sample) -> int:
    """Hold that nobody has more than there is; return what the host's programs have."""
    epc, guests = sample["epc"], sample["guests"]
    states = ("free", "pages", "secs", "va", "guests")
    for use, mib in (
        (epc, SIZES[""]),
        *((use, SIZES["one"]) for use in guests.values()),
    ):
        assert sum(use[state] for state in states) == use["size"] == mib * MIB
        assert use["beyond"] == 0
    assert epc["guests"] == (SIZES["one"] + SIZES["two"]) * MIB
    return int(epc["pages"])


@pytest.mark.parametrize(
    ("suite", "is_served"),
    [("suite_pinned", False), ("suite_newest", False), ("suite_newest", True)],
    indirect=["suite"],
    ids=["pinned", "newest", "newest-daemon"],
)
def test_the_suite_passes_in_two_guests_and_on_their_host_at_once(
    suite: Suite,
    is_served: bool,  # noqa: FBT001 -- a column of the table
    times: list[str],
    place: Path,
) -> None:
    def run_in(name: str) -> Run:
        chosen = ("--guest", name) if name else ()
        options = ("--platform", str(place), *chosen)
        command = [softsgx(), "run", *options, "--", "./test_sgx"]
        return run_program(command, suite.directory)

    with daemon(place) if is_served else nullcontext(), ThreadPoolExecutor() as at_once:
        running = [at_once.submit(run_in, name) for name in SIZES]
        if is_served:
            most = max(check_sum(sample) for sample in samples(place, running))
            assert most > (SIZES[""] - SIZES["one"] - SIZES["two"]) * MIB * 0.9
        runs = [one.result() for one in running]
    # One of its tests fills the EPC: each has seen its own, and the host the whole.
    for run, mib in zip(runs, SIZES.values(), strict=True):
        log = keep(run, suite, f"of-three-{mib}")
        assert (run.last_line, run.code) == (TOTALS, 0), log
        assert f"with {mib * MIB} bytes heap" in run.output, log
    longest = max(run.seconds for run in runs)
    how = "of a daemon" if is_served else "alone"
    times.append(
        f"{suite.package} {suite.version}, in two guests and here, {how}:"
        f" {longest:.2f} s"
    )


@pytest.mark.parametrize("suite", ["suite_pinned"], indirect=True)
def test_the_suite_passes_in_a_guest_with_more_epc_than_there_is(
    suite: Suite, times: list[str], tmp_path: Path
) -> None:
    place = ("--platform", str(tmp_path / "platform"))
    for words in [
        ("platform", "new", place[1], "--epc", "24M"),
        ("platform", "enable", place[1]),
        ("policy", "guest", "big", "--oversubscribe", "yes", *place),
        ("guest", "new", "big", "--epc", "40M", "--kvm", "6.1", *place),
        ("guest", "start", "big", *place),
    ]:
        subprocess.run([softsgx(), *words], check=True)
    command = [softsgx(), "run", *place, "--guest", "big", "--", "./test_sgx"]
    run = run_program(command, suite.directory)
    log = keep(run, suite, "oversubscribed")
    assert (run.last_line, run.code) == (TOTALS, 0), log
    assert f"with {40 * MIB} bytes heap" in run.output, log
    times.append(
        f"{suite.package} {suite.version}, on a third of its EPC: {run.seconds:.2f} s"
    )
