"""The examples, built as a user builds them, run as a user runs them."""

import shutil
import subprocess
from pathlib import Path

import pytest

from softsgx.arch.sigstruct import Sigstruct
from softsgx.cli.samples import read_samples, softsgx_run
from tests.conformance.run import PATIENCE_S

pytestmark = [pytest.mark.runner, pytest.mark.slow]

EXAMPLES = Path(__file__).parents[2] / "examples"
MODES = pytest.mark.parametrize("mode", [(), ("--exact",)])
BUILT = shutil.ignore_patterns("build", "*.o", "*.elf", "*.sig", "*.pem")


def run(*command: object) -> subprocess.CompletedProcess[str]:
    words = [str(word) for word in command]
    return subprocess.run(
        words, capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )


def build(name: str, where: Path) -> Path:
    shutil.copytree(EXAMPLES, where / "examples", ignore=BUILT)
    folder = where / "examples" / name
    softsgx = " ".join(softsgx_run()[:-2])
    made = run("make", "-B", "-C", folder, f"SOFTSGX={softsgx}")
    assert made.returncode == 0, made.stderr
    return folder


@pytest.fixture(scope="module")
def hello(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("hello", tmp_path_factory.mktemp("hello"))


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("bench", tmp_path_factory.mktemp("bench")) / "build" / "bench"


@MODES
def test_the_enclave_answers_and_remembers(hello: Path, mode: tuple[str, ...]) -> None:
    result = run(*softsgx_run(*mode), hello / "hello", "Ada", "Alan")
    assert (result.returncode, result.stderr) == (0, "")
    assert "enclave: Hello, Ada! You are visitor 1.\n" in result.stdout
    assert "enclave: Hello, Alan! You are visitor 2.\n" in result.stdout


def test_the_report_names_the_signed_enclave(hello: Path) -> None:
    sigstruct = Sigstruct.from_bytes((hello / "enclave.sig").read_bytes())
    result = run(*softsgx_run(), hello / "hello")
    assert f"MRENCLAVE  {sigstruct.enclavehash.hex()}\n" in result.stdout
    assert result.stdout.endswith("MRENCLAVE is the one that was signed\n")


def test_an_enclave_that_was_not_signed_does_not_start(hello: Path) -> None:
    sig = hello / "enclave.sig"
    good = sig.read_bytes()
    changed = bytearray(good)
    changed[960] ^= 1
    sig.write_bytes(changed)
    try:
        result = run(*softsgx_run(), hello / "hello")
    finally:
        sig.write_bytes(good)
    assert result.returncode == 1
    assert "SGX_IOC_ENCLAVE_INIT" in result.stderr
    assert "Operation not permitted" in result.stderr


@pytest.mark.skipif(Path("/dev/sgx_enclave").exists(), reason="there is real SGX here")
def test_without_sgx_it_says_so(hello: Path) -> None:
    result = run(hello / "hello")
    assert result.returncode == 1
    assert result.stderr == "hello: /dev/sgx_enclave: this machine offers no SGX\n"


@MODES
@pytest.mark.parametrize(
    ("what", "amount"),
    [
        ("roundtrip", "5"),
        ("build-unmeasured", "8"),
        ("build-measured", "2"),
        ("eaccept", "3"),
        ("compute", "1"),
    ],
)
def test_the_bench_program_measures(
    bench: Path, mode: tuple[str, ...], what: str, amount: str
) -> None:
    result = run(*softsgx_run(*mode), bench, what, amount, "2")
    assert (result.returncode, result.stderr) == (0, "")
    samples = read_samples(result.stdout)
    assert len(samples) == 2
    assert min(samples) > 0
