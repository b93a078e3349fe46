"""softsgx killed at any moment leaves nothing stopped and nothing hung behind."""

import os
import secrets
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.conformance.run import SOFTSGX
from tests.runner.build import program

pytestmark = [pytest.mark.runner, pytest.mark.slow]

PATIENCE_S = 120.0
MARK = "SOFTSGX_TEST_TREE"
SHELL = "while :; do /bin/true; (exit 0); done"


def tree_of(mark: str) -> dict[int, str]:
    """Return the processes of a tree, and the letters of their states."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            if f"{MARK}={mark}\0".encode() in (entry / "environ").read_bytes():
                stat = (entry / "stat").read_text()
                found[int(entry.name)] = stat.rpartition(")")[2].split()[0]
        except (OSError, ValueError):
            continue
    return {pid: state for pid, state in found.items() if state not in "ZX"}


def assert_all_end(mark: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while left := tree_of(mark):
        if time.monotonic() > end:
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            pytest.fail(f"left behind: {left}")
        time.sleep(0.05)


@pytest.mark.parametrize("what", ["shell", "enclaves"])
def test_nothing_is_left_of_the_tree(what: str) -> None:
    command = ["sh", "-c", SHELL] if what == "shell" else [program("sudden_death")]
    for _ in range(10):
        mark = secrets.token_hex(8)
        with subprocess.Popen(
            [SOFTSGX, "run", "--", *command],
            env=os.environ | {MARK: mark},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as softsgx:
            time.sleep(secrets.randbelow(1500) / 1000)
            softsgx.kill()
        assert_all_end(mark)
