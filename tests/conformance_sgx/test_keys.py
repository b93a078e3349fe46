"""Keys and reports of an enclave: of its platform, and good for what they are for."""

from pathlib import Path

import pytest

from softsgx.arch.report import Report
from softsgx.crypto.cmac import aes_cmac
from tests.conformance.here import new_platform
from tests.conformance.run import SOFTSGX, run
from tests.conformance_sgx.build import Program

pytestmark = [pytest.mark.runner, pytest.mark.slow]
PROGRAM = Program("report_key", "dynamic")
MAC_COVERS = 384


def on(platform: Path, *words: str) -> dict[str, bytes]:
    binary = PROGRAM.binary()
    command = [SOFTSGX, "run", "--platform", str(platform), "--", str(binary), *words]
    done = run(command, binary.parent)
    assert (done.code, done.stderr) == (0, "")
    pairs = (line.split() for line in done.stdout.splitlines())
    return {name: bytes.fromhex(value) for name, value in pairs}


def test_a_seal_key_is_the_platforms(tmp_path: Path) -> None:
    ours, theirs = new_platform(tmp_path / "ours"), new_platform(tmp_path / "theirs")
    first, again, other = on(ours), on(ours), on(theirs)
    assert first == again
    assert first["mrenclave"] == other["mrenclave"]
    assert first["seal"] != other["seal"]


def test_a_report_is_verified_with_its_targets_report_key(tmp_path: Path) -> None:
    made = on(new_platform(tmp_path / "ours"), "report")
    report = Report.from_bytes(made["report"])
    assert aes_cmac(made["reportkey"], made["report"][:MAC_COVERS]) == report.mac
    assert report.mrenclave == made["mrenclave"]
