"""Programs that hold an enclave, and what a daemon says of them."""

import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.conformance.here import softsgx
from tests.conformance_sgx.build import Program
from tests.service.scraping import Samples, scraped
from tests.service.serving import PATIENCE_S, Served

COUNTED = Program("counted", "dynamic")


@dataclass
class Holding:
    """A program with a thread inside, and what it did."""

    process: subprocess.Popen[str]
    entries: int
    exits: int
    aex: int

    def end(self) -> int:
        self.process.communicate("", timeout=PATIENCE_S)
        return self.process.returncode


@contextmanager
def holding(
    served: Served, *words: int, exact: bool = False, guest: str = ""
) -> Iterator[Holding]:
    """Have `counted` run until it waits."""
    options = (("--exact",) if exact else ()) + (("--guest", guest) if guest else ())
    command = served.command(COUNTED.binary(), *map(str, words), options=options)
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        try:
            numbers = map(int, process.stdout.readline().split())
            yield Holding(process, *numbers)
        finally:
            process.kill()


def say(served: Served, *words: str) -> str:
    return softsgx(words[0], "--platform", served.directory, *words[1:], is_silent=True)


def listed(served: Served) -> list[dict[str, Any]]:
    rows = json.loads(say(served, "ps", "--json"))
    assert isinstance(rows, list)
    return rows


def settled(served: Served) -> list[dict[str, Any]]:
    """List enclaves when those of programs that ended are gone."""
    end = time.monotonic() + PATIENCE_S
    while (rows := listed(served)) and time.monotonic() < end:
        time.sleep(0.05)
    return rows


def metrics(served: Served) -> Samples:
    found = re.search(r"http://127\.0\.0\.1:(\d+)/metrics", served.said.read_text())
    assert found
    return scraped(int(found[1]))
