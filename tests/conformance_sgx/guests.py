"""Platforms with guests for the tests, and programs that run in them."""

import json
import subprocess
from pathlib import Path

from tests.conformance import here
from tests.conformance.here import softsgx
from tests.conformance.run import SOFTSGX, Outcome, run
from tests.conformance_sgx.build import BUILT, Program

KEYS = Program("report_key", "dynamic")
EPC_SIZE = "/sys/devices/system/node/node0/x86/sgx_total_bytes"
SIG = BUILT / "enclave" / "3.sig"


def on(place: Path, *words: str | Path) -> str:
    """Run a command of softsgx that knows --platform."""
    return softsgx(*words, "--platform", place)


def guest(place: Path, *words: str) -> str:
    return on(place, "guest", *words)


def started(place: Path, name: str, *options: str) -> None:
    guest(place, "new", name, "--epc", "4M", *options)
    guest(place, "start", name)


def new_platform(place: Path, *words: str) -> Path:
    KEYS.binary()
    return here.new_platform(place, *words)


def under(place: Path, *words: str | Path, name: str = "one") -> list[str]:
    """Return the command that runs one in a guest; without a name on the host."""
    chosen = ("--guest", name) if name else ()
    return [SOFTSGX, "run", "--platform", str(place), *chosen, *map(str, words)]


def within(place: Path, *words: str | Path, name: str = "one") -> Outcome:
    return run(under(place, "--", *words, name=name), BUILT)


def at_once(place: Path, program: Program, *names: str) -> list[tuple[bytes, int]]:
    """Run a program in guests, and on the host; return what each said, and its end."""
    binary = program.binary()
    running = [
        subprocess.Popen(
            under(place, "--", binary, name=name),
            cwd=binary.parent,
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        for name in names
    ]
    return [(process.communicate()[1], process.returncode) for process in running]


def keys(place: Path, *words: str, name: str = "one") -> dict[str, bytes]:
    """Return the keys that an enclave gets."""
    done = within(place, KEYS.binary(), *words, name=name)
    assert (done.code, done.stderr) == (0, "")
    pairs = (line.split() for line in done.stdout.splitlines())
    return {key: bytes.fromhex(value) for key, value in pairs}


def logged(place: Path, *words: str) -> list[dict[str, object]]:
    told = on(place, "audit", "tail", "-n", "1000", "--json", *words)
    return [json.loads(line) for line in told.splitlines()]
