"""`make chaos`: the conformance programs, on EPC pages that leave all the time.

Each passes on hardware whatever the reclaimer does, and passes here when `evicting`
does it.  They run in an order that CHAOS_SEED gives, each alone or with another one
on a daemon, for CHAOS_MINUTES.  What a failure left is kept in CHAOS_DIRECTORY.
"""

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random  # noqa: TID251 -- a test's choices, told by their seed

from tests.conformance.run import SOFTSGX
from tests.conformance_sgx.build import HELLO, Program, programs
from tests.house.tree import ROOT
from tests.service.serving import Served, daemon, new_platform
from tests.soak.programs import descendants, say

PATIENCE_S = 180.0
"""The longest takes some seconds, and ten times that on a machine that is busy."""
WORKERS = 2
EVICTING = [sys.executable, "-m", "tests.chaos.evicting"]
ALONE, SERVED = "alone", "served"
NOT_HERE = frozenset({"page_trace"})
"""Programs that see on hardware, too, that a page left: by a page fault's P bit."""


def all_binaries() -> list[Path]:
    """Return every program, compiled, and the example."""
    wanted = [one for one in programs() if one.link == "dynamic"]
    found = [one.binary() for one in wanted if one.name not in NOT_HERE]
    words = ["make", "-C", str(HELLO), f"SOFTSGX={SOFTSGX}"]
    subprocess.run(words, check=True, capture_output=True)
    return [*found, HELLO / "hello"]


def binaries(names: Sequence[str]) -> list[Path]:
    """Return some programs, compiled."""
    return [Program(name, "dynamic").binary() for name in names]


@dataclass
class Chaos:
    """Programs in an order of a seed, and what became of them."""

    directory: Path
    random: Random
    binaries: list[Path]
    most: int | None = None
    """Runs; None: as many as there is time for."""
    served: Served | None = None
    runs: int = 0
    evictions: int = 0
    """Pages that the daemon took from its programs."""
    failures: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _left: list[Path] = field(default_factory=list)

    def work(self, is_over: threading.Event) -> None:
        """Run one program after another."""
        while not is_over.is_set() and (chosen := self._next()):
            self.run(*chosen)

    def _next(self) -> tuple[int, Path, str, int] | None:
        """Choose: the number of the run, the program, the way and the seed."""
        with self._lock:
            if self.runs == self.most:
                return None
            if not self._left:
                self._left = self.random.sample(self.binaries, len(self.binaries))
            self.runs += 1
            way = self.random.choice((ALONE, SERVED)) if self.served else ALONE
            return self.runs, self._left.pop(), way, self.random.getrandbits(32)

    def run(self, number: int, binary: Path, way: str, seed: int) -> None:
        """Run a program to its end, and keep what it left if that is not well."""
        if way == SERVED and self.served:
            command = self.served.command(binary)
        else:
            command = [*EVICTING, str(seed), "run", "--", str(binary)]
        place = self.directory / f"{number:04}-{binary.name}-{way}"
        place.mkdir(parents=True)
        (place / "command").write_text(shlex.join(command) + "\n")
        end = ended(command, binary.parent, place)
        said = (place / "stderr").read_text(errors="replace").strip()
        if end != "0" or said:
            last = said.splitlines()[-1] if said else "nothing on stderr"
            self._fail(f"{binary.name} ({way}): {end}: {last}: see {place}")
            return
        for file in place.iterdir():
            file.unlink()
        place.rmdir()

    def check_daemon(self) -> None:
        """Hold that the daemon is there and has said nothing that it should not."""
        assert self.served
        said = self.served.said.read_text(errors="replace")
        (self.directory / "daemon").write_text(said)
        lines = [line for line in said.splitlines() if not line.endswith(", serving")]
        if self.served.process.poll() is not None or lines:
            self._fail(f"daemon: {lines[-1:]}: see {self.directory / 'daemon'}")
            return
        words = [SOFTSGX, "top", "--platform", str(self.served.directory)]
        seen = subprocess.check_output([*words, "-n", "1", "--delay", "0.1", "--json"])
        self.evictions = json.loads(seen)["counts"]["evictions"]

    def _fail(self, what: str) -> None:
        with self._lock:
            self.failures.append(what)
        say(f"chaos: FAILED: {what}")


def ended(command: Sequence[str], cwd: Path, place: Path) -> str:
    """Run a command; return its exit code, or that it hangs and where."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with (place / "stdout").open("wb") as out, (place / "stderr").open("wb") as err:
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
        try:
            return str(process.wait(PATIENCE_S))
        except subprocess.TimeoutExpired:
            family = [process.pid, *descendants(process.pid)]
            (place / "threads").write_text("\n".join(_threads(family)))
            return "hangs"
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _threads(pids: Sequence[int]) -> Iterator[str]:
    """Yield what each thread waits for, as the kernel tells."""
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").glob("*"):
            with suppress(OSError):
                words = [(task / name).read_text() for name in ("syscall", "stat")]
                yield f"{task.name} {' '.join(words)}"


def chaos(
    found: Sequence[Path],
    seed: int,
    directory: Path,
    *,
    seconds: float = 0,
    most: int | None = None,
) -> Chaos:
    """Run programs for so long, or so many; return what became of them."""
    random = Random(seed)  # noqa: S311 -- as above
    directory.mkdir(parents=True, exist_ok=True)
    all_of_it = Chaos(directory, random, list(found), most)
    with tempfile.TemporaryDirectory(prefix="softsgx-chaos-") as parent:
        platform = new_platform(Path(parent) / "p")
        evicting = (*EVICTING, str(seed))
        with daemon(platform, command=evicting) as all_of_it.served:
            is_over = threading.Event()
            workers = [
                threading.Thread(target=all_of_it.work, args=(is_over,))
                for _ in range(WORKERS)
            ]
            for worker in workers:
                worker.start()
            if most is None:
                is_over.wait(seconds)
                is_over.set()
            for worker in workers:
                worker.join()
            all_of_it.check_daemon()
    return all_of_it


def main() -> int:
    """Do it, and tell what came of it."""
    seed = int(os.environ.get("CHAOS_SEED") or time.time_ns() & 0xFFFF_FFFF)
    minutes = float(os.environ.get("CHAOS_MINUTES", "10"))
    names = os.environ.get("CHAOS_PROGRAMS", "").split()
    default = Path(tempfile.gettempdir()) / f"softsgx-chaos-{seed}"
    directory = Path(os.environ.get("CHAOS_DIRECTORY", default))
    say(f"chaos: CHAOS_SEED={seed} CHAOS_MINUTES={minutes:g}")
    found = binaries(names) if names else all_binaries()
    done = chaos(found, seed, directory, seconds=minutes * 60)
    said = f"{done.runs} runs, the daemon took {done.evictions} pages"
    say(f"chaos: {said}, {len(done.failures)} failures")
    return 1 if done.failures else 0


if __name__ == "__main__":
    sys.exit(main())
