"""/dev/sgx_vepc: what a monitor can do with it before its guest runs."""

from pathlib import Path

import pytest

from tests.conformance.run import SOFTSGX, Outcome, run
from tests.conformance_sgx.build import BUILT, HERE, Program
from tests.conformance_sgx.guests import guest, new_platform, within
from tests.service.serving import daemon

pytestmark = [pytest.mark.runner, pytest.mark.slow]
VEPC = "/dev/sgx_vepc"
MODE = pytest.mark.parametrize("mode", [(), ("--exact",)], ids=["normal", "exact"])


def under(*words: str) -> Outcome:
    return run([SOFTSGX, "run", *words], BUILT)


@MODE
@pytest.mark.parametrize("link", ["dynamic", "static", "static-pie"])
def test_the_program_passes(link: str, mode: tuple[str, ...]) -> None:
    binary = Program("vepc", link, HERE / "vepc").binary()
    done = run(
        [SOFTSGX, "run", "--vmx", "--epc", "2M", *mode, "--", str(binary)],
        binary.parent,
    )
    assert (done.code, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("model", "nodes"),
    [
        (("--vmx",), "/dev/sgx_enclave /dev/sgx_provision /dev/sgx_vepc"),
        (("--vmx", "--cpu", "skylake-client"), "/dev/sgx_provision /dev/sgx_vepc"),
        ((), "/dev/sgx_enclave /dev/sgx_provision"),
    ],
)
def test_it_is_there_where_there_can_be_guests(
    model: tuple[str, ...], nodes: str
) -> None:
    done = under(*model, "--", "sh", "-c", "echo /dev/sgx_*")
    assert done.stdout == f"{nodes}\n"


def test_a_guest_has_none(tmp_path: Path) -> None:
    place = new_platform(tmp_path / "p", "--vmx")
    assert "vmx = true" in (place / "platform.toml").read_text()
    assert within(place, "ls", VEPC, name="").code == 0
    guest(place, "new", "one")
    guest(place, "start", "one")
    assert within(place, "ls", VEPC).code != 0


def test_the_program_passes_on_a_daemon(tmp_path: Path) -> None:
    binary = Program("vepc", "dynamic", HERE / "vepc").binary()
    place = new_platform(tmp_path / "p", "--vmx", "--epc", "2M")
    with daemon(place) as served:
        for _ in range(2):
            done = served.run(binary)
            assert (done.code, done.stderr) == (0, "")
