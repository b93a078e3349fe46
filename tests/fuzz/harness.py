"""Runs the fuzzer under softsgx and looks at the supervisor in its quiet moments.

    python -m tests.fuzz.harness [--seed N] [--rounds N] [--seconds N] [--exact]
                               [--break]

It is the supervisor itself, so it sees what no program can: whether all of the EPC,
every descriptor and every process it knew of came back.  --break has it lose pages, to
show that this is noticed.
"""

import argparse
import gc
import importlib
import os
import secrets
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from softsgx.driver.driver import Driver
from softsgx.driver.encl import Encl
from softsgx.machine.model import Model
from softsgx.platform.platform import Platform
from softsgx.runner.insiders import Insiders
from softsgx.runner.loop import Loop
from softsgx.runner.options import RunOptions
from softsgx.runner.run import run
from softsgx.runner.task.files import Files
from softsgx.runner.tree import Tree
from tests.driver.invariants import assert_sound
from tests.fuzz.build import fuzzer

PATIENCE_S = 60.0
GROWTH_KIB = 64 * 1024
"""Most memory that the supervisor may gain after its second quiet moment."""
ROUNDS = 1_000_000


@dataclass(frozen=True)
class Census:
    """What the supervisor has of the tree."""

    epc_used: int
    enclaves: int
    files: int
    processes: int
    descriptors: int


class Inspector:
    """Waits for quiet moments and compares them with the first."""

    def __init__(self, news: int, go_on: int, end: float, patience: float):
        self._news = os.fdopen(news)
        self._go_on = go_on
        self._patience = patience
        self._end = end
        self._first: Census | None = None
        self._memory: list[int] = []
        self.rounds = -1
        self.acts = 0
        self.driver: Driver
        self.files: Files
        self.tree: Tree

    def watch(self) -> None:
        """Follow the program to its end; a broken rule ends all of us with 3."""
        try:
            for line in self._news:
                word, acts = line.split()
                assert word == "quiet", f"the fuzzer says {line!r}"
                self.acts = int(acts)
                self._judge()
                self.rounds += 1
                if time.monotonic() > self._end:
                    break
                os.write(self._go_on, b"\n")
            os.close(self._go_on)
        except Exception as broken:  # noqa: BLE001 -- whatever it is, it is a finding
            sys.stderr.write(f"fuzz: {type(broken).__name__}: {broken}\n")
            sys.stderr.flush()
            os._exit(3)

    def _judge(self) -> None:
        self._eventually(lambda: assert_sound(self.driver))
        if self._first is None:
            self._eventually(self._assert_one_enclave)
            self._first = self._census()
        self._eventually(self._assert_all_back)
        gc.collect()
        self._memory.append(_resident_kib())
        grown = self._memory[-1] - self._memory[:2][-1]
        assert grown < GROWTH_KIB, f"memory, in KiB: {self._memory}"

    def _assert_one_enclave(self) -> None:
        count = len(self.driver.machine.enclaves)
        assert count == 1, f"{count} enclaves, the program has one"

    def _assert_all_back(self) -> None:
        now, first = self._census(), self._first
        assert first is not None
        left = [_doing(pid) for pid in list(self.tree._processes)]
        # One that was just being closed at the first look does not count.
        least = min(now.descriptors, first.descriptors)
        self._first = replace(first, descriptors=least)
        assert now == self._first, f"{now}, at first {first}: {left}"

    def _census(self) -> Census:
        return Census(
            epc_used=self.driver.section.pages - self.driver.section.free,
            enclaves=len(self.driver.machine.enclaves),
            files=len(self.files._by_inode),
            processes=len(self.tree._processes),
            descriptors=len(os.listdir("/proc/self/fd")),  # noqa: PTH208 -- counted
        )

    def _eventually(self, check: Callable[[], None]) -> None:
        """The kernel tells of ends a little later than they happen."""
        end = time.monotonic() + self._patience
        while True:
            try:
                check()
            except (AssertionError, KeyError, RuntimeError):
                if time.monotonic() > end:
                    raise
                time.sleep(0.01)
            else:
                return


def _doing(pid: int) -> str:
    """Say what a process waits for, and which signals it blocks and waits for."""
    try:
        where = [
            Path(f"/proc/{pid}/{name}").read_text() for name in ("wchan", "syscall")
        ]
        status = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return f"{pid} is gone"
    known = [one for one in status if one.startswith(("State", "PPid", "Sig", "Shd"))]
    return " ".join([str(pid), *where, *known])


def _resident_kib() -> int:
    text = Path("/proc/self/status").read_text()
    return next(int(w.split()[1]) for w in text.splitlines() if w.startswith("VmRSS:"))


def _observe(inspector: Inspector) -> None:
    """Have the run's own objects shown to the inspector."""

    class ShownTree(Tree):
        def __init__(
            self, driver: Driver, files: Files, loop: Loop, insiders: Insiders
        ):
            super().__init__(driver, files, loop, insiders)
            inspector.driver, inspector.files, inspector.tree = driver, files, self

    # The run's machinery makes its tree, by this name.
    importlib.import_module("softsgx.runner.machinery").__dict__["Tree"] = ShownTree


def _forget(driver: Driver, encl: Encl) -> None:
    """Stand in for the end of an enclave, and leave its pages where they are."""
    del driver, encl


def main() -> int:
    """Fuzz as the command line says; 0 if every rule held."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1 << 32))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--exact", action="store_true")
    parser.add_argument("--break", dest="breaks", action="store_true")
    asked = parser.parse_args()
    program = fuzzer()
    sys.stderr.write(f"fuzz: --seed {asked.seed}\n")
    news, tell = os.pipe()
    answers, go_on = os.pipe()
    os.dup2(answers, 0)
    os.dup2(tell, 1)
    os.close(tell)
    os.close(answers)
    end = time.monotonic() + asked.seconds
    inspector = Inspector(news, go_on, end, 1.0 if asked.breaks else PATIENCE_S)
    if asked.breaks:
        type.__setattr__(Driver, "release", _forget)
    _observe(inspector)
    watcher = threading.Thread(target=inspector.watch)
    watcher.start()
    argv = [str(program), str(asked.seed), str(asked.rounds)]
    options = RunOptions(platform=Platform.ephemeral(Model()), exact=asked.exact)
    code = run(argv, options)
    os.close(1)
    watcher.join()
    sys.stderr.write(f"fuzz: {inspector.rounds} rounds, {inspector.acts} acts\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
