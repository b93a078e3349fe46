"""A daemon for a test, on a platform of its own."""

import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from softsgx.service.control import Operator
from tests.conformance.here import new_platform
from tests.conformance.run import PATIENCE_S, SOFTSGX, Outcome, run

__all__ = ["PATIENCE_S", "new_platform"]


def wait_for(text: str, file: Path) -> None:
    """Wait until a file has a text in it."""
    end = time.monotonic() + PATIENCE_S
    while text not in file.read_text():
        assert time.monotonic() < end, file.read_text()
        time.sleep(0.02)


@dataclass
class Served:
    """A platform and its daemon."""

    directory: Path
    process: subprocess.Popen[bytes]
    said: Path
    """What the daemon printed."""

    def command(self, *words: str | Path, options: tuple[str, ...] = ()) -> list[str]:
        on = ["run", "--platform", str(self.directory), *options, "--"]
        return [SOFTSGX, *on, *map(str, words)]

    def run(self, *words: str | Path, options: tuple[str, ...] = ()) -> Outcome:
        return run(self.command(*words, options=options), self.directory)

    def start(self, *words: str | Path) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            self.command(*words), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def is_at_rest(self) -> bool:
        """Wait until it knows of no program: a run ends before it has tidied up."""
        end = time.monotonic() + PATIENCE_S
        with Operator(self.directory) as operator:
            while operator.ask("ping")["programs"]:
                if time.monotonic() > end:
                    return False
                time.sleep(0.02)
        return True

    def end(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


@contextmanager
def daemon(
    directory: Path, *options: str, command: Sequence[str] = (SOFTSGX,)
) -> Iterator[Served]:
    """Have a platform served, by softsgx or by what is another *command* for it."""
    said = directory.parent / f"daemon-{time.monotonic_ns()}"
    words = [*command, "daemon", "--platform", str(directory), *options]
    with said.open("wb") as file:
        process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=file, stderr=file
        )
    served = Served(directory, process, said)
    try:
        while "serving" not in said.read_text():
            assert process.poll() is None, said.read_text()
            time.sleep(0.02)
        yield served
    finally:
        served.kill()
