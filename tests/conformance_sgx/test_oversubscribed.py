"""Guests with more EPC than the host has for them."""

from pathlib import Path

import pytest

from tests.conformance.run import SOFTSGX, run
from tests.conformance_sgx.build import BUILT, Program
from tests.conformance_sgx.guests import (
    EPC_SIZE,
    at_once,
    guest,
    keys,
    new_platform,
    on,
    under,
    within,
)

pytestmark = [pytest.mark.runner, pytest.mark.slow]
MODE = pytest.mark.parametrize("mode", [(), ("--exact",)], ids=["normal", "exact"])
LEAVE = ("policy", "guest")


def big(place: Path, name: str, size: str = "16M") -> None:
    on(place, *LEAVE, name, "--oversubscribe", "yes")
    guest(place, "new", name, "--epc", size)
    guest(place, "start", name)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = new_platform(tmp_path_factory.mktemp("platform") / "p", "--epc", "4M")
    big(made, "one")
    return made


@MODE
@pytest.mark.parametrize(
    "name",
    [
        "more_than_epc",
        "evicted",
        "look_from_outside",
        "edmm",
        "fork_shared",
        "parallel",
        "crowd",
        "signals_inside",
    ],
)
def test_the_program_passes_in_one(
    name: str, mode: tuple[str, ...], place: Path
) -> None:
    binary = Program(name, "dynamic").binary()
    done = run(under(place, *mode, "--", binary), binary.parent)
    assert (done.code, done.stderr) == (0, "")


def test_it_sees_all_that_it_was_promised(place: Path) -> None:
    assert within(place, "cat", EPC_SIZE).stdout == f"{16 << 20}\n"
    line = "one: on, 16384 KiB of EPC, 2048 of them at a time\n"
    assert guest(place, "list") == line


def test_its_keys_are_those_of_any_guest(place: Path) -> None:
    assert keys(place) == keys(place, name="")


def test_two_of_them_and_the_host_at_once(tmp_path: Path) -> None:
    place = new_platform(tmp_path / "p", "--epc", "8M")
    big(place, "one")
    big(place, "two")
    program = Program("more_than_epc", "dynamic")
    assert at_once(place, program, "one", "two", "") == [(b"", 0)] * 3


def test_without_the_owners_leave_it_is_one_line(tmp_path: Path) -> None:
    place = new_platform(tmp_path / "p", "--epc", "4M")
    where = ("--platform", str(place))
    made = run([SOFTSGX, "guest", "new", "one", "--epc", "16M", *where], BUILT)
    why = "16777216 bytes of EPC for one; the platform has 4194304"
    leave = "`softsgx policy guest one --oversubscribe yes`"
    why += f"; more is for guests with leave: {leave}"
    assert (made.code, made.stderr) == (1, f"softsgx: {why}\n")
    big(place, "one")
    on(place, *LEAVE, "one", "--oversubscribe", "no")
    entered = within(place, "true")
    why = "guest one: the owner has not signed [guests.one] oversubscribe = true"
    assert (entered.code, entered.stderr) == (125, f"softsgx: {why}\n")
    guest(place, "stop", "one")
    started = run([SOFTSGX, "guest", "start", "one", *where], BUILT)
    why = "guest one has 16777216 bytes of EPC; 4194304 are left by those that run"
    assert (started.code, started.stderr) == (1, f"softsgx: {why}\n")
