"""Runs the kernel's SGX selftest under softsgx and reads what it printed."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance.kernel_source import Suite
from tests.house.tree import ROOT

TOTALS = "# Totals: pass:16 fail:0 xfail:0 xpass:0 skip:0 error:0"
"""The only last line that counts; a skipped test is not a passed one."""

LONGEST_RUN_S = 45.0
PATIENCE_S = 240.0
"""When a run that hangs is ended; the kernel's own runner gives it 45 s."""

EPC = ("--epc", "64M")
EXACT = ("--exact",)
MASKED = ("--inject", "mask-pf-sgx")
NO_SGX2 = ("--no-sgx2",)

BEGIN = re.compile(r"^#\s+RUN\s+enclave\.(?P<test>\w+) \.\.\.$")
RESULT = re.compile(r"^(?P<no>not )?ok \d+ (?P<rest>.*)$")


def softsgx() -> str:
    """Find the command of the environment that runs these tests."""
    return str(Path(sys.executable).with_name("softsgx"))


@dataclass(frozen=True)
class Run:
    """What one run of the suite gave: exit code, output, and seconds it took."""

    code: int
    output: str
    seconds: float

    @property
    def last_line(self) -> str:
        """The last line that is not empty."""
        lines = [line for line in self.output.splitlines() if line.strip()]
        return lines[-1] if lines else ""

    @property
    def failed(self) -> set[str]:
        """Names of the tests that are `not ok`."""
        return self._tests("failed")

    @property
    def skipped(self) -> set[str]:
        """Names of the tests that were skipped, which the harness calls `ok`."""
        return self._tests("skipped")

    @property
    def passed(self) -> set[str]:
        """Names of the tests that ran and passed."""
        return self._tests("passed")

    def _tests(self, wanted: str) -> set[str]:
        # The older harness leaves the name out of a skipped test's result.
        found, test = set(), ""
        for line in self.output.splitlines():
            if begin := BEGIN.match(line):
                test = begin["test"]
            elif result := RESULT.match(line):
                how = "skipped" if "# SKIP" in result["rest"] else "passed"
                if ("failed" if result["no"] else how) == wanted:
                    found.add(test)
        return found

    def complaint(self) -> str:
        """Say in words what keeps this run from being a good one; empty if nothing."""
        if self.last_line != TOTALS:
            bad = sorted(self.failed | self.skipped)
            return f"last line is {self.last_line!r}, not ok or skipped: {bad}"
        if self.code != 0:
            return f"exit code {self.code}"
        if self.seconds >= LONGEST_RUN_S:
            return f"took {self.seconds:.1f} s, has {LONGEST_RUN_S:.0f} s"
        return ""


def run_suite(suite: Suite, *options: str) -> Run:
    """Run `./test_sgx` in its directory under softsgx, and end it if it hangs."""
    command = [softsgx(), "run", *EPC, *options, "--", "./test_sgx"]
    return run_program(command, suite.directory)


def run_program(command: list[str], cwd: Path) -> Run:
    """Run a command in a session of its own; all of its output in one stream."""
    start = time.monotonic()
    with subprocess.Popen(
        command,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            output += f"\n(ended after {PATIENCE_S:.0f} s)\n".encode()
        code = process.returncode
    return Run(code, output.decode(errors="replace"), time.monotonic() - start)


def keep(run: Run, suite: Suite, label: str) -> Path:
    """Write a bad run's whole output where a person can read it."""
    folder = ROOT / "build" / "selftest"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{suite.package}-{label}.log"
    path.write_text(run.output)
    return path
