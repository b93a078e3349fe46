"""How `softsgx bench` takes its samples: programs are run, numbers are read."""

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from softsgx.cli.policy_samples import decide_us
from softsgx.cli.swap_samples import page_swap_s

TIMEOUT_S = 300
COMPILES = 10

SELFTEST = "test_sgx"
"""The program of the kernel's suite."""

_WHOLE_SUITE = "pass:16 fail:0 xfail:0 xpass:0 skip:0 error:0"
"""The suite counts a skipped test as passed; we do not."""

_SOURCE = """\
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static int compare(const void *a, const void *b) { return strcmp(a, b); }
int main(int argc, char **argv)
{
	qsort(argv, (size_t)argc, sizeof(*argv), compare);
	return printf("%s\\n", argv[argc - 1]) < 0;
}
"""


class NoSampleError(Exception):
    """Why a figure could not be had, in one line."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """One figure: the median of *n* samples; None with a reason if there are none."""

    id: str
    value: float | None = None
    unit: str
    n: int = 0
    min: float | None = None
    max: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Sources:
    """What is measured: our program and, where it was built, the kernel's selftest."""

    program: Path
    selftest: Path | None = None


@dataclass(frozen=True)
class Figure:
    """A figure's name and unit, and how its samples are taken."""

    id: str
    unit: str
    take: Callable[[Sources], list[float]]


def take(figure: Figure, sources: Sources) -> Result:
    """Take a figure; whatever goes wrong becomes its reason."""
    try:
        samples = figure.take(sources)
    except NoSampleError as error:
        return Result(id=figure.id, unit=figure.unit, reason=str(error))
    return summary(figure, samples)


def summary(figure: Figure, samples: list[float]) -> Result:
    """Return the median, least and greatest of some samples."""
    if not samples:
        return Result(id=figure.id, unit=figure.unit, reason="no samples")
    return Result(
        id=figure.id,
        unit=figure.unit,
        value=statistics.median(samples),
        n=len(samples),
        min=min(samples),
        max=max(samples),
    )


def softsgx_run(*options: str) -> list[str]:
    """Return the command that runs programs as a user of this softsgx does."""
    installed = Path(sys.executable).with_name("softsgx")
    start = (
        [str(installed)] if installed.exists() else [sys.executable, "-m", "softsgx"]
    )
    return [*start, "run", *options, "--"]


def finish(command: list[str], cwd: Path | None = None) -> str:
    """Run a command and return what it printed; NoSampleError if it fails."""
    try:
        done = subprocess.run(  # noqa: S603 -- our own words, no shell
            command,
            cwd=cwd,
            check=False,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoSampleError(str(error)) from error
    if done.returncode:
        said = done.stderr.strip().splitlines()
        what = said[-1] if said else f"exit code {done.returncode}"
        raise NoSampleError(f"{Path(command[0]).name} failed: {what}")
    return done.stdout


def seconds_of(command: list[str], cwd: Path | None = None) -> float:
    """Return the wall-clock seconds that a command takes."""
    start = time.perf_counter()
    finish(command, cwd)
    return time.perf_counter() - start


def _program(
    *words: str, options: tuple[str, ...] = ()
) -> Callable[[Sources], list[float]]:
    """Return a taker of the samples that our program prints under softsgx."""

    def samples(sources: Sources) -> list[float]:
        if not sources.program.exists():
            raise NoSampleError(f"{sources.program} is not built")
        command = [*softsgx_run(*options), str(sources.program), *words]
        return read_samples(finish(command))

    return samples


def read_samples(text: str) -> list[float]:
    """Read what our program prints: a number a line."""
    try:
        return [float(line) for line in text.split()]
    except ValueError as error:
        raise NoSampleError(f"not a number: {error}") from error


def _start_true(sources: Sources) -> list[float]:
    del sources
    return [seconds_of([*softsgx_run(), "/bin/true"]) for _ in range(15)]


def _compile(sources: Sources) -> list[float]:
    """Compile a small program ten times in one run, ours over theirs, alternating."""
    del sources
    if shutil.which("cc") is None:
        raise NoSampleError("there is no C compiler (cc)")
    script = f"for i in $(seq {COMPILES}); do cc -O2 -o small small.c || exit 1; done"
    ratios = []
    with tempfile.TemporaryDirectory() as name:
        where = Path(name)
        (where / "small.c").write_text(_SOURCE)
        shell = ["/bin/sh", "-c", script]
        seconds_of(shell, where)
        for _ in range(5):
            alone = seconds_of(shell, where)
            ratios.append(seconds_of([*softsgx_run(), *shell], where) / alone)
    return ratios


def tsc_hz(program: Path) -> float:
    """Return the cycles that RDTSC counts in a second."""
    if not program.exists():
        raise NoSampleError(f"{program} is not built")
    return read_samples(finish([str(program), "tsc", "50", "1"]))[0]


def _page_swap(sources: Sources) -> list[float]:
    hz = tsc_hz(sources.program)
    return [seconds * hz for seconds in page_swap_s()]


def _selftest(sources: Sources) -> list[float]:
    if sources.selftest is None:
        raise NoSampleError("no built suite was named (--selftest DIR)")
    program = sources.selftest / SELFTEST
    if not program.exists():
        raise NoSampleError(f"{program} is not there")
    command = [*softsgx_run("--epc", "64M"), f"./{SELFTEST}"]
    samples = []
    for _ in range(3):
        start = time.perf_counter()
        said = finish(command, sources.selftest)
        samples.append(time.perf_counter() - start)
        if _WHOLE_SUITE not in said:
            raise NoSampleError("the suite did not pass")
    return samples


FIGURES = (
    Figure(
        "enclu_roundtrip_exact_cycles",
        "cycles",
        _program("roundtrip", "500", "9", options=("--exact",)),
    ),
    Figure("enclu_roundtrip_cycles", "cycles", _program("roundtrip", "20000", "9")),
    Figure(
        "build_unmeasured_gib_s",
        "GiB/s",
        _program("build-unmeasured", "1024", "5", options=("--epc", "2G")),
    ),
    Figure(
        "build_measured_mib_s",
        "MiB/s",
        _program("build-measured", "64", "5", options=("--epc", "256M")),
    ),
    Figure(
        "eaccept_page_cycles",
        "cycles",
        _program("eaccept", "2048", "7", options=("--epc", "256M")),
    ),
    Figure("page_swap_cycles", "cycles", _page_swap),
    Figure(
        "page_swap_live_cycles",
        "cycles",
        _program("swap", "8192", "7", options=("--epc", "2M")),
    ),
    Figure(
        "page_swap_far_cycles",
        "cycles",
        _program("swap-far", "8192", "5", options=("--epc", "2M")),
    ),
    Figure("selftest_suite_s", "s", _selftest),
    Figure("start_true_s", "s", _start_true),
    Figure("compile_slowdown_ratio", "ratio", _compile),
    Figure("inside_compute_ratio", "ratio", _program("compute", "16", "7")),
    Figure("policy_decide_10_us", "us", decide_us(10)),
    Figure("policy_decide_10k_us", "us", decide_us(10_000)),
)
"""The figures, in the order in which they are shown."""
