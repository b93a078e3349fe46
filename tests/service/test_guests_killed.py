"""Programs in guests killed at random, guests reset, and the daemon gone: no EPC lost.

GUESTS_KILLED_SECONDS says for how long (8), GUESTS_KILLED_SEED which.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random  # noqa: TID251 -- a test's choices, told by their seed
from typing import IO

import pytest

from tests.conformance.here import softsgx
from tests.conformance.run import SOFTSGX, run
from tests.service.holding import COUNTED, listed, metrics
from tests.service.serving import PATIENCE_S, Served, daemon, new_platform
from tests.soak.programs import WRONG, binary, descendants

pytestmark = [pytest.mark.runner, pytest.mark.slow]
SECONDS = float(os.environ.get("GUESTS_KILLED_SECONDS", "8"))
SEED = int(os.environ.get("GUESTS_KILLED_SEED", "1"))
ROUND_S = 30.0
MIB = 1 << 20
WHOLE, PART, GUESTS = 4, 1, ("one", "two")
AT_ONCE = 6


@dataclass
class Program:
    """A program, where it is, and what it says."""

    where: str
    process: "subprocess.Popen[bytes]"
    said: IO[bytes]
    excuse: str = ""
    """Why it may end badly; without one it may not."""

    def kill(self, random: Random) -> None:
        self.excuse = "killed"
        family = [self.process.pid, *descendants(self.process.pid)]
        with suppress(ProcessLookupError):
            os.kill(random.choice(family[-3:]), 9)

    def judge(self) -> None:
        code = self.process.returncode
        assert self.process.stdin
        self.process.stdin.close()
        self.said.seek(0)
        said = self.said.read().decode(errors="replace")
        self.said.close()
        assert code != WRONG, said
        assert code == 0 or self.excuse or "runs in it already" in said, (code, said)


@dataclass
class Crowd:
    """Who works on a platform, and what happens to them."""

    place: Path
    random: Random
    there: list[Program] = field(default_factory=list)
    outcomes: Counter[str] = field(default_factory=Counter)

    def begin(self) -> None:
        where = self.random.choice(("", *GUESTS))
        guest = ("--guest", where) if where else ()
        words = self.random.choice(
            ([binary("keeper"), "3"], [COUNTED.binary(), "2", "1", "300"])
        )
        said = tempfile.TemporaryFile()  # noqa: SIM115 -- its program closes it
        process = subprocess.Popen(
            [SOFTSGX, "run", "--platform", self.place, *guest, "--", *map(str, words)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=said,
        )
        self.there.append(Program(where, process, said))

    def reap(self) -> None:
        for program in list(self.there):
            if program.process.poll() is not None:
                self.there.remove(program)
                program.judge()
                how = program.excuse if program.process.returncode else "ended"
                self.outcomes[f"{program.where or 'host'} {how}"] += 1

    def reset(self, name: str) -> None:
        self.excuse(name, why="reset")
        words = [SOFTSGX, "guest", "reset", name, "--platform", str(self.place)]
        done = run(words, self.place)
        assert (done.code, done.stderr) == (0, "")

    def excuse(self, *where: str, why: str) -> None:
        for program in self.there:
            if program.where in where:
                program.excuse = program.excuse or why

    def step(self) -> None:
        self.reap()
        if len(self.there) < AT_ONCE:
            self.begin()
        match self.random.randrange(20):
            case 0:
                self.reset(self.random.choice(GUESTS))
            case number if number < 8 and self.there:
                self.random.choice(self.there).kill(self.random)
        time.sleep(self.random.random() / 4)

    def end(self, random: Random) -> None:
        """Kill who is left, some by their runs and some themselves."""
        while self.there:
            for program in self.there:
                program.kill(random)
            time.sleep(0.05)
            self.reap()


def check_nothing_is_left(served: Served) -> None:
    end = time.monotonic() + PATIENCE_S
    while listed(served):
        assert time.monotonic() < end, listed(served)
        time.sleep(0.1)
    seen = metrics(served)
    assert seen["softsgx_epc_bytes", "guests"] == len(GUESTS) * PART * MIB
    assert seen["softsgx_epc_bytes", "free"] == (WHOLE - len(GUESTS) * PART) * MIB
    for name in GUESTS:
        whole = seen.get(("softsgx_guest_epc_bytes", f"{name},free"), PART * MIB)
        assert whole == PART * MIB


def test_no_page_is_lost_whoever_is_killed(tmp_path: Path) -> None:
    place = new_platform(tmp_path / "p", "--epc", f"{WHOLE}M")
    for name in GUESTS:
        for words in (["new", name, "--epc", f"{PART}M"], ["start", name]):
            softsgx("guest", *words, "--platform", place)
    crowd = Crowd(place, Random(SEED))  # noqa: S311 -- as above
    binary("keeper"), COUNTED.binary()
    latest = time.monotonic() + SECONDS
    try:
        while time.monotonic() < latest:
            with daemon(place, "--metrics", "0") as served:
                until = min(latest, time.monotonic() + min(SECONDS / 2, ROUND_S))
                while time.monotonic() < until:
                    crowd.step()
                crowd.excuse("", *GUESTS, why="the daemon ends")
                if crowd.random.random() < 0.5 and time.monotonic() < latest:
                    continue  # it is killed under them
                crowd.end(crowd.random)
                check_nothing_is_left(served)
    finally:
        crowd.end(crowd.random)
    sys.stdout.write(f"{dict(crowd.outcomes)}\n")
