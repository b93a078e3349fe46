"""A C part that is missing or of another commit is said in one line."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from softsgx.native.images import HERE
from tests.conformance.run import Outcome, run
from tests.service.serving import new_platform

LIBRARY = "libsoftsgx.so"
PACKAGE = Path(HERE).parent
CANNOT_START = 125


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of ours, whose C part a test may spoil."""
    copy = tmp_path / "softsgx"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def softsgx(package: Path, *words: str) -> Outcome:
    us = [sys.executable, "-P", "-m", "softsgx"]
    path = f"PYTHONPATH={package.parent}"
    return run(["env", path, *us, *words], package.parent)


def age(package: Path) -> None:
    """Let it have a library that lacks what was written since."""
    library = package / "native" / LIBRARY
    library.unlink()
    command = ["gcc", "-shared", "-x", "c", os.devnull, "-o", str(library)]
    subprocess.run(command, check=True)


@pytest.mark.parametrize("options", [(), ("--exact",)], ids=["normal", "exact"])
def test_a_library_of_an_older_commit_is_to_be_built_anew(
    package: Path, options: tuple[str, ...]
) -> None:
    age(package)
    done = softsgx(package, "run", *options, "--", "true")
    said = f"softsgx: {LIBRARY} is out of date: run `make build`\n"
    assert (done.code, done.stdout, done.stderr) == (CANNOT_START, "", said)


def test_a_daemon_says_it_too(package: Path) -> None:
    age(package)
    platform = new_platform(package.parent / "p")
    done = softsgx(package, "daemon", "--platform", str(platform))
    said = f"softsgx: {LIBRARY} is out of date: run `make build`\n"
    assert (done.code, done.stdout, done.stderr) == (1, "", said)


@pytest.mark.parametrize("name", [LIBRARY, "agent.bin", "vdso.bin", "images.json"])
def test_what_was_never_built_is_to_be_built(package: Path, name: str) -> None:
    (package / "native" / name).unlink()
    done = softsgx(package, "run", "--", "true")
    assert (done.code, done.stdout) == (CANNOT_START, "")
    assert done.stderr.startswith("softsgx: ")
    assert done.stderr.endswith(f"{name} is not built: run `make build`\n")
    assert len(done.stderr.splitlines()) == 1
