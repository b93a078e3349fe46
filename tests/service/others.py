"""Another user, and a place that he can get to."""

import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conformance.run import ANYBODYS, SOFTSGX, run
from tests.conformance_sgx.build import Program

KEYS = Program("report_key", "dynamic")
is_root = pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")


def as_nobody(*words: str | Path) -> tuple[int, str, str]:
    nobody = pwd.getpwnam("nobody")
    user = ["setpriv", f"--reuid={nobody.pw_uid}", "--regid=65534", "--clear-groups"]
    own = [ANYBODYS if word == SOFTSGX else str(word) for word in words]
    done = run([*user, *own], Path("/"))
    return done.code, done.stdout, done.stderr


@contextmanager
def a_reachable_place() -> Iterator[Path]:
    """Give a place that everybody can get to."""
    # Not below pytest's own, which is closed to others.
    place = Path(tempfile.mkdtemp(prefix="softsgx-test-", dir="/tmp"))
    place.chmod(0o755)
    shutil.copy(KEYS.binary(), place / "keys")
    shutil.copytree(KEYS.binary().parents[1] / "enclave", place / "enclave")
    try:
        yield place
    finally:
        shutil.rmtree(place)
