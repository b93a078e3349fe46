"""Compiles the hostile programs against the hosts of the SGX conformance programs."""

import os
import subprocess
from pathlib import Path

from tests.conformance_sgx import build

PROGRAMS = Path(__file__).parent / "programs"
BUILT = build.BUILT / "hostile"


def program(name: str) -> Path:
    """Return the program of that name, compiled if a source is newer than it."""
    build.enclave("3")
    binary = BUILT / name
    sources = [PROGRAMS / f"{name}.c", PROGRAMS / "hostile.h"]
    sources += (build.HERE / "host").iterdir()
    newest = max(path.stat().st_mtime for path in sources)
    if binary.exists() and binary.stat().st_mtime > newest:
        return binary
    BUILT.mkdir(parents=True, exist_ok=True)
    fresh = binary.with_name(f"{name}.{os.getpid()}")
    flags = [*build.FLAGS, f"-I{build.HERE / 'host'}"]
    own = (sources[0], *build.shared("dynamic"))
    command = ["gcc", *flags, *map(str, own), "-o", str(fresh)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    fresh.replace(binary)
    return binary
