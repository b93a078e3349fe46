"""kill -9 of guests at random: no page of the EPC is lost, and no process is left.

GUEST_KILLS says how many, GUEST_SEED which; without them a few.
"""

import json
import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from random import Random  # noqa: TID251 -- a test's choices, told by their seed

import pytest

from tests.conformance.run import SOFTSGX, run
from tests.conformance_sgx.build import BUILT, Program
from tests.conformance_sgx.guests import guest, new_platform, on, under

pytestmark = [pytest.mark.runner, pytest.mark.slow]
KILLS = int(os.environ.get("GUEST_KILLS", "12"))
SEED = int(os.environ.get("GUEST_SEED") or time.time_ns() & 0xFFFF_FFFF)
MIB = 1 << 20
SIZES = {"small": 2, "middle": 6, "big": 32}
HELD = {"small": 2, "middle": 6, "big": 4}
"""MiB that they believe in, and that they have of the platform's 16."""
PROGRAMS = ("report_key", "more_than_epc", "evicted", "fork_shared")
PATIENCE_S = 300


@pytest.fixture
def place(tmp_path: Path) -> Path:
    made = new_platform(tmp_path / "killed", "--epc", "16M")
    on(made, "policy", "guest", "big", "--oversubscribe", "yes")
    for name, mib in SIZES.items():
        guest(made, "new", name, "--epc", f"{mib}M")
        guest(made, "start", name)
    return made


def held(place: Path) -> dict[str, int]:
    """Return how many MiB each guest that is on really has."""
    shown = json.loads(guest(place, "list", "--json"))
    return {
        one["name"]: one["resident_bytes"] // MIB
        for one in shown
        if one["state"] == "on"
    }


def family(pid: int) -> list[int]:
    """Return a process and all below it, parents first."""
    found = [pid]
    for one in found:
        with suppress(OSError):
            told = Path(f"/proc/{one}/task/{one}/children").read_text()
            found += map(int, told.split())
    return found


def kill_run(place: Path, name: str, choose: Random) -> None:
    """Kill a run, or a program of it, at any moment; both end."""
    binary = Program(choose.choice(PROGRAMS), "dynamic").binary()
    with subprocess.Popen(
        under(place, "--", binary, name=name),
        cwd=binary.parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as victim:
        time.sleep(choose.random() * 1.5)
        with suppress(ProcessLookupError):
            os.kill(choose.choice(family(victim.pid)), signal.SIGKILL)
        victim.wait(PATIENCE_S)


def kill_command(place: Path, name: str, choose: Random) -> None:
    """Kill what turns a guest off and on again; then it is one or the other."""
    for word in ("stop", "start"):
        words = [SOFTSGX, "guest", word, name, "--platform", str(place)]
        with subprocess.Popen(
            words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as victim:
            time.sleep(choose.random() * 0.4)
            victim.kill()


def settle(place: Path, name: str) -> None:
    """Turn a guest on if it is off; nothing that was killed is in its way."""
    latest = time.monotonic() + PATIENCE_S
    while held(place).get(name) != HELD[name]:
        for word in ("stop", "start"):
            run([SOFTSGX, "guest", word, name, "--platform", str(place)], BUILT)
        assert time.monotonic() < latest, held(place)


def processes(place: Path) -> list[str]:
    """Return the commands of those that have to do with a platform."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = path.read_bytes().decode(errors="replace").split("\0")
            lines += [" ".join(words)] if str(place) in words else []
    return lines


def test_guests_that_are_killed_lose_no_epc(place: Path) -> None:
    choose = Random(SEED)  # noqa: S311 -- as above
    for _ in range(KILLS):
        name = choose.choice(list(SIZES))
        if choose.random() < 0.25:
            kill_command(place, name, choose)
            settle(place, name)
        else:
            kill_run(place, name, choose)
        assert held(place) == HELD, f"GUEST_SEED={SEED}"
    latest = time.monotonic() + PATIENCE_S
    while left := processes(place):
        assert time.monotonic() < latest, f"GUEST_SEED={SEED}: {left}"
    for name in SIZES:
        binary = Program("more_than_epc", "dynamic").binary()
        done = run(under(place, "--", binary, name=name), binary.parent)
        assert (done.code, done.stderr) == (0, "")
    for name in SIZES:
        guest(place, "stop", name)
    guest(place, "new", "all", "--epc", "16M")
    guest(place, "start", "all")
    assert held(place) == {"all": 16}
