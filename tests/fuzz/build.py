"""Compiles the fuzzer against the hosts of the SGX conformance programs."""

import os
import subprocess
from pathlib import Path

from tests.conformance_sgx import build
from tests.house.tree import ROOT

PROGRAM = Path(__file__).parent / "program"
HOSTILE = ROOT / "tests" / "runner" / "programs"
BUILT = build.BUILT / "hostile"


def fuzzer() -> Path:
    """Return the fuzzer, compiled if a source is newer than it."""
    build.enclave("3")
    binary = BUILT / "fuzz"
    sources = [*sorted(PROGRAM.glob("*.c")), *build.SHARED]
    headers = [
        PROGRAM / "fuzz.h",
        HOSTILE / "hostile.h",
        build.HERE / "host" / "host.h",
    ]
    newest = max(path.stat().st_mtime for path in (*sources, *headers))
    if binary.exists() and binary.stat().st_mtime > newest:
        return binary
    BUILT.mkdir(parents=True, exist_ok=True)
    fresh = binary.with_name(f"fuzz.{os.getpid()}")
    flags = [*build.FLAGS, f"-I{build.HERE / 'host'}"]
    command = ["gcc", *flags, *map(str, sources), "-o", str(fresh)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    fresh.replace(binary)
    return binary
