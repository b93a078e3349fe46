"""A page that threads inside may still have in their TLBs leaves after an interrupt."""

import re
import subprocess
import sys

import pytest

from tests.conformance.run import PATIENCE_S
from tests.conformance_sgx.build import Program

pytestmark = [pytest.mark.runner, pytest.mark.slow]

COUNTING = """
import sys
from softsgx.cli import main
from softsgx.driver.core import Core
from softsgx.runner.crew import Crew

kick, end, threads = Core.kick, Crew._end, []

def counting(core, encl):
    threads.append(len(core.machine.enclaves[encl.secs].inside))
    kick(core, encl)

def telling(crew):
    print(len(threads), sum(threads), file=sys.stderr)
    end(crew)

Core.kick, Crew._end = counting, telling
main()
"""


def test_etrack_and_interrupts_come_before_ewb_where_threads_are_inside() -> None:
    binary = Program("more_than_epc", "dynamic").binary()
    run = [sys.executable, "-c", COUNTING, "run", "--epc", "1M", "--exact", "--"]
    done = subprocess.run(
        [*run, str(binary)],
        cwd=binary.parent,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    kicks, threads = re.fullmatch(r"(\d+) (\d+)\n", done.stderr).groups()  # type: ignore[union-attr]
    assert int(threads) >= int(kicks) > 5
