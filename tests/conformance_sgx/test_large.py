"""An enclave many times as large as the EPC keeps every page of it.

With LARGE_ENCLAVE=1 it is one of 4 GiB on an EPC of 64 MiB, which takes minutes.
"""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.conformance.run import SOFTSGX
from tests.house.tree import ROOT

pytestmark = [pytest.mark.runner, pytest.mark.slow]
BENCH = ROOT / "examples" / "bench"
IS_LARGE = bool(os.environ.get("LARGE_ENCLAVE"))
SIZE, PAGES, EPC = (
    (0x1_0000_0000, 0xF0000, "64M") if IS_LARGE else (1 << 30, 2048, "1M")
)
"""The enclave's bytes, those of its pages that are used, and the EPC."""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bench")
    make = ["make", "-C", str(BENCH), f"OUT={out}", f"SOFTSGX={SOFTSGX}"]
    subprocess.run([*make, f"ENCLAVE_SIZE={SIZE:#x}"], check=True, capture_output=True)
    return out / "bench"


@pytest.mark.parametrize("order", ["swap", "swap-far"][: 1 if IS_LARGE else 2])
def test_it_finds_what_it_wrote(program: Path, order: str) -> None:
    run = [SOFTSGX, "run", "--epc", EPC, "--", str(program), order, str(PAGES), "1"]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"[0-9.e+]+\n", done.stdout)
