"""Another user, and a place that he can get to."""

import os
import pwd
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conformance.run import run
from tests.conformance_sgx.build import Program

KEYS = Program("report_key", "dynamic")
is_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")


def as_nobody(*words: str | Path) -> tuple[int, str, str]:
    nobody = pwd.getpwnam("nobody")
    user = ["setpriv", f"--reuid={nobody.pw_uid}", "--regid=65534", "--clear-groups"]
    done = run([*user, *map(str, words)], Path("/"))
    return done.code, done.stdout, done.stderr


@contextmanager
def a_reachable_place() -> Iterator[Path]:
    """Give a place that everybody can get to."""
    place = Path("/tmp", f"softsgx-test-{os.getpid()}")  # noqa: S108 -- see above
    place.mkdir(mode=0o755)
    place.chmod(0o755)
    shutil.copy(KEYS.binary(), place / "keys")
    shutil.copytree(KEYS.binary().parents[1] / "enclave", place / "enclave")
    try:
        yield place
    finally:
        shutil.rmtree(place)
