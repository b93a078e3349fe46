"""Programs in guests: what they see, whose EPC they have, and one clear error."""

import json
import signal
import subprocess
from pathlib import Path

import pytest

from tests.conformance.here import softsgx
from tests.conformance.run import run
from tests.conformance_sgx.build import BUILT, Program
from tests.conformance_sgx.guests import (
    EPC_SIZE,
    KEYS,
    at_once,
    guest,
    new_platform,
    under,
    within,
)

pytestmark = [pytest.mark.runner, pytest.mark.slow]
MORE_THAN_EPC = Program("more_than_epc", "dynamic")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    made = new_platform(tmp_path / "p", "--epc", "32M")
    guest(made, "new", "one", "--epc", "4M")
    guest(made, "start", "one")
    return made


@pytest.mark.parametrize("mode", [(), ("--exact",)])
def test_an_enclave_runs_in_a_guest(place: Path, mode: tuple[str, ...]) -> None:
    done = run(under(place, *mode, "--", KEYS.binary()), BUILT)
    assert (done.code, done.stderr) == (0, "")
    assert "mrenclave" in done.stdout


def test_a_guest_has_its_own_epc_and_the_host_the_rest(place: Path) -> None:
    assert within(place, "cat", EPC_SIZE).stdout == f"{4 << 20}\n"
    assert within(place, "cat", EPC_SIZE, name="").stdout == f"{32 << 20}\n"


def test_pages_leave_a_guests_epc_as_they_leave_the_hosts(place: Path) -> None:
    binary = MORE_THAN_EPC.binary()
    done = run(under(place, "--", binary), binary.parent)
    assert (done.code, done.stderr) == (0, "")


def test_the_host_has_no_page_while_guests_have_them_all(place: Path) -> None:
    guest(place, "new", "rest", "--epc", "28M")
    guest(place, "start", "rest")
    refused = within(place, KEYS.binary(), name="")
    assert refused.code != 0
    assert "Cannot allocate memory" in refused.stderr
    guest(place, "stop", "rest")
    assert within(place, KEYS.binary(), name="").code == 0


@pytest.mark.parametrize(
    ("cpu", "key", "device"),
    [
        ("full", "writable", "/dev/sgx_enclave"),
        ("full", "own", "/dev/isgx"),
        ("full", "ab" * 32, "/dev/isgx"),
        ("skylake", "own", "/dev/isgx"),
    ],
)
def test_the_device_is_that_of_the_guests_launch_control(
    cpu: str, key: str, device: str, tmp_path: Path
) -> None:
    place = new_platform(tmp_path / "p", "--cpu", cpu)
    guest(place, "new", "one", "--lepubkeyhash", key)
    guest(place, "start", "one")
    nodes = ("/dev/sgx_enclave", "/dev/sgx_provision", "/dev/isgx")
    seen = [node for node in nodes if within(place, "test", "-c", node).code == 0]
    assert seen[0] == device
    flags = within(place, "grep", "-m1", "^flags", "/proc/cpuinfo").stdout.split()
    assert "sgx" in flags
    assert ("sgx_lc" in flags) == (key == "writable")


def test_bad_input_is_one_line(place: Path, tmp_path: Path) -> None:
    guest(place, "new", "off", "--epc", "4M")
    off = new_platform(tmp_path / "off")
    for name, why in (
        ("none", f"{place}: no guest is named none"),
        ("off", "guest off is off; start it with `softsgx guest start off`"),
        ("../one", "'../one' is no name of a guest"),
    ):
        refused = within(place, "true", name=name)
        assert (refused.code, refused.stderr) == (125, f"softsgx: {why}\n")
    softsgx("platform", "disable", off)
    without = within(off, "test", "-c", "/dev/sgx_enclave")
    assert (without.code, "no SGX here" in without.stderr) == (1, True)


def test_a_guest_that_is_busy_is_not_entered_twice(place: Path) -> None:
    with subprocess.Popen(
        under(place, "--", "sh", "-c", "echo there; exec sleep 60"),
        stdout=subprocess.PIPE,
    ) as first:
        assert first.stdout
        first.stdout.readline()
        refused = within(place, "true")
        why = f"guest one: a program runs in it already, process {first.pid}"
        assert (refused.code, refused.stderr) == (125, f"softsgx: {why}\n")
        assert guest(place, "reset", "one") == "one: on, 4096 KiB of EPC\n"
        assert first.wait() == -signal.SIGKILL
    assert within(place, KEYS.binary()).code == 0


def test_two_guests_and_the_host_at_once(place: Path) -> None:
    guest(place, "new", "two", "--epc", "6M")
    guest(place, "start", "two")
    assert at_once(place, MORE_THAN_EPC, "one", "two", "") == [(b"", 0)] * 3
    shown = json.loads(guest(place, "list", "--json"))
    assert sum(one["epc_bytes"] for one in shown if one["state"] == "on") == 10 << 20
