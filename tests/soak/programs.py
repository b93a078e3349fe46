"""`make soak-programs`: programs with enclaves on an EPC a tenth of what they need.

Programs and the daemon are killed at random.  From time to time everybody is let to an
end: then no enclave may be left, and no page of the EPC.  SOAK_MINUTES says how long,
SOAK_SEED which (any).
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random  # noqa: TID251 -- a test's choices, told by their seed

from tests.conformance.run import SOFTSGX
from tests.conformance_sgx.build import Program
from tests.service.serving import new_platform, wait_for

OWN = Path(__file__).parent / "programs"
WRONG = 3
"""How keeper ends when a page came back as another."""

KEEPERS, OTHERS = 6, 2
EPC = "1280K"
"""Each keeper has 2 MiB of pages, and the others some."""

LIFE_S = "8"
PATIENCE_S = 300.0
ROUND_S = 45.0
"""Between two ends of everybody."""

PROGRAMS = (
    "more_than_epc",
    "crowd",
    "edmm",
    "parallel",
    "fork_shared",
    "extended_state",
    "vdso_exceptions",
    "many_threads",
    "report_key",
    "signals_inside",
)


class FailedError(Exception):
    """What must not happen."""


@dataclass
class Soak:
    """A platform with a daemon that comes and goes, and those who work on it."""

    directory: Path
    random: Random
    lock: threading.Lock = field(default_factory=threading.Lock)
    running: dict[int, "Run"] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    pausing: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)
    daemon: subprocess.Popen[bytes] | None = None
    lives: int = 0
    """Daemons that came, and that went: odd while there is one."""
    paging: int = 0
    """Pages that the present daemon took out of the EPC."""

    def start_daemon(self) -> None:
        """Have the platform served, once more."""
        said = self.directory.parent / f"daemon-{self.lives}"
        command = [SOFTSGX, "daemon", "--platform", str(self.directory)]
        with said.open("wb") as file:
            self.daemon = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=file
            )
        wait_for("serving", said)
        self.lives += 1

    def kill_daemon(self) -> None:
        """Take the platform's power, for a moment."""
        self.lives += 1
        assert self.daemon
        self.daemon.kill()
        self.daemon.wait()
        time.sleep(self.random.random())
        self.start_daemon()

    def kill_somebody(self) -> None:
        """Kill a program, or the run that it is in."""
        with self.lock:
            runs = list(self.running.values())
        if runs:
            self.random.choice(runs).kill(self.random)

    def fail(self, what: str) -> None:
        """Note what must not be; the others work on."""
        self.failures.append(what)
        say(f"soak: FAILED: {what}")

    def ask(self, *words: str) -> str:
        """Ask the daemon something."""
        command = [SOFTSGX, *words, "--platform", str(self.directory), "--json"]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )
        if done.returncode:
            raise FailedError(f"{' '.join(words)}: {done.stderr}")
        return done.stdout

    def check_nothing_is_left(self) -> None:
        """Hold that the EPC is as it was in the beginning."""
        end = time.monotonic() + PATIENCE_S
        while True:
            left = json.loads(self.ask("ps"))
            seen = json.loads(self.ask("top", "-n", "1", "--delay", "0.1"))
            epc = seen["epc"]
            if not left and epc["free"] == epc["size"]:
                self.paging = seen["counts"]["evictions"]
                return
            if time.monotonic() > end:
                self.fail(f"left behind: {epc}, {left}")
                return
            time.sleep(0.2)


@dataclass
class Run:
    """One program on the platform."""

    soak: Soak
    name: str
    process: subprocess.Popen[bytes]
    life: int
    killed: bool = False

    def kill(self, random: Random) -> None:
        """Kill the program, one of its children, or softsgx run."""
        self.killed = True
        family = [self.process.pid, *descendants(self.process.pid)]
        with _gone():
            os.kill(random.choice(family[-3:]), signal.SIGKILL)

    def judge(self, said: str) -> None:
        """Look at how it ended."""
        code, lives = self.process.returncode, self.soak.lives
        unlucky = self.life != lives or lives % 2 == 0
        why = "killed" if self.killed else "powerless" if unlucky else "well"
        if code == WRONG or (code and why == "well"):
            self.soak.fail(f"{self.name}: {code}, {why}: {said}")
        self.soak.outcomes[f"{self.name} {why if code else 'well'}"] += 1


class _gone:  # noqa: N801 -- reads like suppress
    """Do not mind that a process has ended."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: object, trace: object) -> bool:
        return isinstance(error, ProcessLookupError)


def descendants(pid: int) -> Iterator[int]:
    """Yield the processes below one, parents first."""
    try:
        path = Path(f"/proc/{pid}/task/{pid}/children")
        children = [int(word) for word in path.read_text().split()]
    except OSError:
        return
    for child in children:
        yield child
        yield from descendants(child)


def work(soak: Soak, seed: int, *, keeps: bool) -> None:
    """Run programs one after another."""
    random = Random(seed)  # noqa: S311 -- as above
    while not soak.over.is_set():
        if soak.pausing.is_set():
            time.sleep(0.05)
            continue
        name = "keeper" if keeps else random.choice(PROGRAMS)
        run_one(soak, name)


def binary(name: str) -> Path:
    """Return a program, compiled."""
    folder = {"folder": OWN} if name == "keeper" else {}
    return Program(name, "dynamic", **folder).binary()


def run_one(soak: Soak, name: str) -> None:
    """Run a program to its end, and judge it."""
    words = [str(binary(name)), *([LIFE_S] if name == "keeper" else [])]
    command = [SOFTSGX, "run", "--platform", str(soak.directory), "--", *words]
    life = soak.lives
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        run = Run(soak, name, process, life)
        with soak.lock:
            soak.running[process.pid] = run
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            soak.fail(f"{name}: hangs, process {process.pid}")
        finally:
            with soak.lock:
                del soak.running[process.pid]
            with _gone():
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        said.seek(0)
        run.judge(said.read().decode(errors="replace").strip()[-400:])


def soak(minutes: float, seed: int, *, daemon_dies: bool = True) -> Soak:
    """Let everybody work for so long; return what became of them."""
    random = Random(seed)  # noqa: S311 -- as above
    with tempfile.TemporaryDirectory(prefix="softsgx-soak-") as parent:
        directory = new_platform(Path(parent) / "p", "--epc", EPC)
        all_of_it = Soak(directory, random)
        for name in ("keeper", *PROGRAMS):
            binary(name)
        all_of_it.start_daemon()
        workers = [
            threading.Thread(
                target=work,
                args=(all_of_it, random.getrandbits(32)),
                kwargs={"keeps": at < KEEPERS},
            )
            for at in range(KEEPERS + OTHERS)
        ]
        for worker in workers:
            worker.start()
        try:
            end = time.monotonic() + minutes * 60
            _trouble(all_of_it, end, daemon_dies=daemon_dies)
        finally:
            all_of_it.over.set()
            for worker in workers:
                worker.join()
            all_of_it.check_nothing_is_left()
            assert all_of_it.daemon
            all_of_it.daemon.kill()
            all_of_it.daemon.wait()
    return all_of_it


def _trouble(soak: Soak, end: float, *, daemon_dies: bool) -> None:
    """Kill, now somebody and now the daemon; look now and then whether all is well."""
    random, quiet_at = soak.random, time.monotonic() + min(ROUND_S, 10)
    while time.monotonic() < end:
        time.sleep(random.random() * 2)
        if daemon_dies and random.random() < 0.04:
            soak.kill_daemon()
        else:
            soak.kill_somebody()
        if time.monotonic() > quiet_at:
            soak.pausing.set()
            while soak.running:
                time.sleep(0.1)
            soak.check_nothing_is_left()
            say(f"soak: daemons came and went {soak.lives} times, {_told(soak)}")
            soak.pausing.clear()
            quiet_at = time.monotonic() + ROUND_S


def _told(soak: Soak) -> str:
    assert soak.daemon
    status = Path(f"/proc/{soak.daemon.pid}/status").read_text()
    kib = next(line.split()[1] for line in status.splitlines() if "VmRSS" in line)
    ends = Counter[str]()
    for outcome, count in soak.outcomes.items():
        ends[outcome.split()[1]] += count
    has = f"took {soak.paging} pages out and has {int(kib) // 1024} MiB"
    return f"{dict(ends)}; the daemon {has}"


def main() -> int:
    """Do it, and tell what came of it."""
    seed = int(os.environ.get("SOAK_SEED") or time.time_ns() & 0xFFFF_FFFF)
    minutes = float(os.environ.get("SOAK_MINUTES", "10"))
    say(f"soak: SOAK_SEED={seed} SOAK_MINUTES={minutes:g}")
    done = soak(minutes, seed)
    for outcome, count in sorted(done.outcomes.items()):
        say(f"{outcome:28} {count:6}")
    say(f"soak: {len(done.failures)} failures")
    return 1 if done.failures else 0


def say(what: str) -> None:
    """Print a line, with the time of day."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
