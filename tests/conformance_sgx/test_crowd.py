"""What a crowd of processes with enclaves leaves behind in softsgx: nothing."""

import os
import subprocess
import time
from itertools import pairwise
from pathlib import Path

import pytest

from tests.conformance.run import PATIENCE_S, SOFTSGX
from tests.conformance_sgx.build import Program

pytestmark = [pytest.mark.runner, pytest.mark.slow]

PROCESSES = int(os.environ.get("SOFTSGX_CROWD", "16"))
"""At once; 200 take minutes."""
ROUNDS = 4
_KIB_A_ROUND = 2048
"""What Python may keep of a crowd that is gone; a leaked enclave is more."""


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def resident_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def settled(pid: int, most: int) -> int:
    """Return how many descriptors softsgx has when it has noticed the last end.

    It may take its time to come to *most*, where that is known: not 0.
    """
    end = time.monotonic() + PATIENCE_S
    before, count = 0, descriptors(pid)
    while (count != before or 0 < most < count) and time.monotonic() < end:
        time.sleep(0.1)
        before, count = count, descriptors(pid)
    return count


def test_nothing_is_left_of_a_crowd() -> None:
    binary = Program("crowd", "dynamic").binary()
    command = [SOFTSGX, "run", "--", str(binary), str(PROCESSES), str(ROUNDS)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=binary.parent
    ) as run:
        assert run.stdin
        assert run.stdout
        fds, kib = list[int](), list[int]()
        for number in range(ROUNDS):
            assert run.stdout.readline() == b"\n"
            # What the first crowd needs may be opened after it, and is kept.
            fds.append(settled(run.pid, fds[1] if number > 1 else 0))
            kib.append(resident_kib(run.pid))
            run.stdin.write(b"\n")
            run.stdin.flush()
        assert run.wait() == 0
    assert max(fds[2:]) <= fds[1], fds
    # By chance more of a crowd is there at once than before; not each time.
    assert min(after - before for before, after in pairwise(kib[1:])) < _KIB_A_ROUND


def test_a_crowd_gets_on_in_an_epc_that_is_far_too_small() -> None:
    """What its threads inside need for their exits is all of it but eight pages."""
    binary = Program("crowd", "dynamic").binary()
    command = [SOFTSGX, "run", "--epc", "1M", "--", str(binary), "31"]
    done = subprocess.run(
        command, capture_output=True, check=False, timeout=900, cwd=binary.parent
    )
    assert done.returncode == 0, done.stderr
