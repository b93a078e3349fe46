"""A program that loses its enclaves, twice, and says so step by step."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conformance.run import PATIENCE_S
from tests.conformance_sgx.build import Program

POWER_LOSS = Program("power_loss", "dynamic", Path(__file__).parent / "programs")


class Talk:
    """A program that says a word, and goes on when it is answered."""

    def __init__(self, process: "subprocess.Popen[str]"):
        self._process = process

    def hears(self, word: str) -> bool:
        assert self._process.stdout
        return self._process.stdout.readline() == f"{word}\n"

    def hear(self, word: str) -> None:
        assert self.hears(word), self._rest()

    def answer(self) -> None:
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def end(self) -> str:
        """Let it end; return what was said on stderr."""
        _, stderr = self._process.communicate("\n", timeout=PATIENCE_S)
        assert self._process.returncode == 0, stderr
        return stderr

    def killed(self) -> int:
        """Wait until it was killed; return how its run ended."""
        return self._process.wait(PATIENCE_S)

    def _rest(self) -> str:
        self._process.kill()
        return "".join(self._process.communicate())


@contextmanager
def talking(command: list[str]) -> Iterator[Talk]:
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, text=True, stdin=pipe, stdout=pipe, stderr=pipe
    ) as it:
        try:
            yield Talk(it)
        finally:
            it.kill()
