"""Many `softsgx run` at once on one daemon, and what each costs it and the machine."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from softsgx.service.control import Operator
from tests.conformance_sgx import build
from tests.service.serving import PATIENCE_S, Served, daemon, new_platform

SOURCE = Path(__file__).parent / "programs" / "parked.c"
_STARTING = 16
"""Runs that are on their way at once."""


def main() -> None:
    """Print a line for each number of runs in the arguments."""
    _say(Figures._fields)
    _say(("", "ms", "ms", "KiB", "", "", "KiB"))
    for word in sys.argv[1:]:
        _say(figures(int(word)))


class Figures(NamedTuple):
    """What each of *runs* took; memory is what a process shares with nobody."""

    runs: int
    start: float
    end: float
    daemon: float
    threads: float
    fds: float
    client: float


def figures(count: int) -> Figures:
    """Have programs with an enclave each attach by runs of their own, and end."""
    with tempfile.TemporaryDirectory() as place:
        directory = new_platform(Path(place, "p"))
        program = _built(Path(place))
        with daemon(directory) as served:
            _end(_started(served, program, 1))  # what is made once is made
            before, begin = _taken(served), time.monotonic()
            crowd = _started(served, program, count)
            started = time.monotonic()
            taken = [
                now - then for now, then in zip(_taken(served), before, strict=True)
            ]
            clients = sum(_own_memory(one.pid) for one in crowd[0])
            middle = time.monotonic()
            _end(crowd)
            _wait_for_none(served)
            ended = time.monotonic()
    times = (started - begin, ended - middle)
    each = (*(1e3 * one for one in times), *taken, clients)
    return Figures(count, *(one / count for one in each))


Crowd = tuple[list["subprocess.Popen[bytes]"], int]
"""Runs, and what their programs wait on."""


def _started(served: Served, program: Path, count: int) -> Crowd:
    gate, opener = os.pipe()
    ready, told = os.pipe()
    runs = []
    for at in range(count):
        command = served.command(program)
        runs.append(subprocess.Popen(command, stdin=gate, stdout=told))
        if at >= _STARTING:
            _hear(ready, runs)
    os.close(told)
    os.close(gate)
    for _ in range(min(count, _STARTING)):
        _hear(ready, runs)
    os.close(ready)
    return runs, opener


def _hear(ready: int, runs: list["subprocess.Popen[bytes]"]) -> None:
    """Wait until one more program has its enclave."""
    if not os.read(ready, 1):
        raise SystemExit(f"{sum(one.poll() is not None for one in runs)} runs ended")


def _end(crowd: Crowd) -> None:
    runs, opener = crowd
    os.close(opener)
    bad = sum(one.wait(PATIENCE_S) != 0 for one in runs)
    if bad:
        raise SystemExit(f"{bad} runs failed")


def _wait_for_none(served: Served) -> None:
    """Wait until nothing is left on the machine."""
    end = time.monotonic() + PATIENCE_S
    with Operator(served.directory) as operator:
        while operator.ask("ping")["programs"] or operator.ask("machine")["alive"]:
            if time.monotonic() > end:
                raise SystemExit("enclaves are left")
            time.sleep(0.01)


def _taken(served: Served) -> tuple[int, int, int]:
    """Return what the daemon has: KiB of memory, threads, descriptors."""
    place = Path(f"/proc/{served.process.pid}")
    lists = [len(list((place / name).iterdir())) for name in ("task", "fd")]
    return _own_memory(served.process.pid), lists[0], lists[1]


def _own_memory(pid: int) -> int:
    """Return the KiB that a process has and shares with nobody."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_"))


def _built(place: Path) -> Path:
    program = place / "parked"
    command = ["gcc", *build.FLAGS, "-static", str(SOURCE), "-o", str(program)]
    subprocess.run(command, check=True)
    return program


def _say(row: tuple[object, ...]) -> None:
    words = (f"{one:.1f}" if isinstance(one, float) else str(one) for one in row)
    sys.stdout.write(" ".join(f"{word:>9}" for word in words) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
