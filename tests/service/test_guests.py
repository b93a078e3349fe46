"""Guests that a daemon serves: one machine more each, and one EPC for all."""

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conformance import here
from tests.conformance.run import SOFTSGX, Outcome, run
from tests.conformance_sgx.build import Program
from tests.conformance_sgx.guests import EPC_SIZE, KEYS
from tests.service.holding import holding, listed, metrics, settled
from tests.service.serving import PATIENCE_S, Served, daemon, new_platform
from tests.service.talking import POWER_LOSS, talking

pytestmark = [pytest.mark.runner, pytest.mark.slow]
MIB = 1 << 20
PAGING = Program("more_than_epc", "dynamic")


def softsgx(place: Path, *words: str) -> Outcome:
    return run([SOFTSGX, *words, "--platform", str(place)], place)


def guest(place: Path, *words: str) -> str:
    return here.softsgx("guest", *words, "--platform", place, is_silent=True)


def with_guests(place: Path, *names: str, epc: str = "4M", all_of: str = "32M") -> Path:
    new_platform(place, "--epc", all_of)
    for name in names:
        guest(place, "new", name, "--epc", epc)
        guest(place, "start", name)
    return place


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return with_guests(tmp_path / "p", "one", "two")


@pytest.fixture
def served(place: Path) -> Iterator[Served]:
    with daemon(place, "--metrics", "0") as one:
        yield one


def within(served: Served, name: str, *words: str | Path) -> Outcome:
    return served.run(*words, options=("--guest", name))


def free(served: Served, name: str) -> int:
    """The bytes of a guest's EPC that nobody has."""
    return int(metrics(served)["softsgx_guest_epc_bytes", f"{name},free"])


def test_programs_of_several_runs_are_in_one_guest_and_others_in_others(
    served: Served,
) -> None:
    where = ("one", "one", "two", "")
    with ExitStack() as all_of_them:
        held = [
            all_of_them.enter_context(holding(served, 3, 1, 5, guest=name))
            for name in where
        ]
        rows = listed(served)
        assert [row["guest"] for row in rows] == [*where[:3], None]
        assert len({row["pids"][0] for row in rows}) == 4
        seen = metrics(served)
        uses = ("pages", "secs", "va")
        for name in ("one", "two"):
            mine = [row for row in rows if row["guest"] == name]
            pages = sum(row["resident"] + row["va"] for row in mine)
            used = sum(seen["softsgx_guest_epc_bytes", f"{name},{use}"] for use in uses)
            assert used == pages > 0
            assert seen["softsgx_guest_epc_size_bytes", name] == 4 * MIB
        assert seen["softsgx_epc_bytes", "guests"] == 8 * MIB
        head, *lines = softsgx(served.directory, "ps").stdout.splitlines()
        at = head.split().index("GUEST")
        assert [line.split()[at] for line in lines] == ["one", "one", "two", "-"]
        for row in rows:
            shown = softsgx(served.directory, "show", str(row["eid"])).stdout
            assert f"guest        {row['guest'] or '-'}\n" in shown
        assert [one.end() for one in held] == [0] * 4
    assert settled(served) == []
    assert (free(served, "one"), free(served, "two")) == (4 * MIB, 4 * MIB)


def test_programs_in_a_guest_take_pages_from_each_other_alone(tmp_path: Path) -> None:
    place = with_guests(tmp_path / "p", "one", epc="1M", all_of="8M")
    with (
        daemon(place, "--metrics", "0") as served,
        holding(served, 1, 2, 400) as host,
        holding(served, 1, 2, 400, guest="one") as one,
        holding(served, 1, 2, 400, guest="one") as two,
    ):
        first, *others = listed(served)
        assert (first["guest"], first["evicted"]) == (None, 0)
        assert [row["guest"] for row in others] == ["one", "one"]
        assert all(row["evicted"] for row in others)
        seen = metrics(served)
        states = ("free", "pages", "secs", "va")
        parts = [seen["softsgx_guest_epc_bytes", f"one,{state}"] for state in states]
        assert sum(parts) == MIB
        top = softsgx(place, "top", "-n", "1", "--delay", "0.1").stdout
        assert "\nguest one: EPC 1M: " in top
        assert [end.end() for end in (host, one, two)] == [0] * 3


@pytest.mark.parametrize("mode", [(), ("--exact",)])
def test_pages_leave_a_guests_epc(served: Served, mode: tuple[str, ...]) -> None:
    binary = PAGING.binary()
    done = served.run(binary, options=("--guest", "one", *mode))
    assert (done.code, done.stderr) == (0, "")
    shown = within(served, "one", "cat", EPC_SIZE)
    assert shown.stdout == f"{4 * MIB}\n"
    assert served.run("cat", EPC_SIZE).stdout == f"{32 * MIB}\n"


def test_a_reset_ends_a_guests_programs_and_no_others(served: Served) -> None:
    command = [POWER_LOSS.binary()]
    with (
        talking(served.command(*command, options=("--guest", "one"))) as one,
        talking(served.command(*command, options=("--guest", "two"))) as two,
        talking(served.command(*command)) as host,
        talking(
            served.command(
                "sh", "-c", "echo idle; exec sleep 9999", options=("--guest", "one")
            )
        ) as idle,
    ):
        for talk in (one, two, host):
            talk.hear("inside")
        idle.hear("idle")
        assert guest(served.directory, "reset", "one") == "one: on, 4096 KiB of EPC\n"
        assert (one.killed(), idle.killed()) == (-signal.SIGKILL, -signal.SIGKILL)
        assert {row["guest"] for row in listed(served)} == {"two", None}
        assert within(served, "one", KEYS.binary()).code == 0
        assert free(served, "one") == 4 * MIB
        others = [row for row in listed(served) if row["guest"] != "one"]
        assert [row["inside"] for row in others] == [2, 2]


def test_a_reset_of_the_platform_is_the_end_of_its_guests(served: Served) -> None:
    for options in ((), ("--kexec",)):
        with talking(
            served.command(POWER_LOSS.binary(), options=("--guest", "one"))
        ) as talk:
            talk.hear("inside")
            here.softsgx("platform", "reset", served.directory, *options)
            assert talk.killed() == -signal.SIGKILL
        shown = guest(served.directory, "list").splitlines()
        assert [line.split()[1] for line in shown] == ["off,", "off,"]
        assert metrics(served)["softsgx_epc_bytes", "guests"] == 0
        guest(served.directory, "start", "one")
        assert within(served, "one", KEYS.binary()).code == 0


@pytest.mark.parametrize("end", [Served.kill, Served.end])
def test_a_guests_enclaves_are_gone_with_the_daemon(
    place: Path, end: Callable[[Served], object]
) -> None:
    with daemon(place) as first:
        command = first.command(POWER_LOSS.binary(), options=("--guest", "one"))
        with talking(command) as talk:
            talk.hear("inside")
            end(first)
            talk.answer()
            talk.hear("lost")
            with daemon(place) as second:
                talk.answer()
                talk.hear("inside")
                assert [row["guest"] for row in listed(second)] == ["one"]


def test_a_guest_stops_when_its_programs_have_ended(served: Served) -> None:
    with holding(served, 1, 0, 0, guest="one") as one:
        refused = softsgx(served.directory, "guest", "stop", "one")
        why = f"guest one: a program runs in it, process {one.process.pid}"
        assert refused.stderr == f"softsgx: {served.directory}: {why}\n"
        assert refused.code == 1
        assert one.end() == 0
    assert guest(served.directory, "stop", "one") == "one: off, 4096 KiB of EPC\n"
    assert metrics(served)["softsgx_epc_bytes", "guests"] == 4 * MIB
    assert guest(served.directory, "delete", "one") == "one: deleted\n"
    guest(served.directory, "new", "three", "--epc", "28M")
    assert guest(served.directory, "start", "three").startswith("three: on")
    assert metrics(served)["softsgx_epc_bytes", "free"] == 0
    refused = served.run(KEYS.binary())
    assert "Cannot allocate memory" in refused.stderr
    guest(served.directory, "stop", "three")
    assert served.run(KEYS.binary()).code == 0


def test_a_guest_that_starts_takes_pages_from_programs_on_the_host(
    tmp_path: Path,
) -> None:
    place = with_guests(tmp_path / "p", all_of="3M")
    guest(place, "new", "one", "--epc", "2M")
    with daemon(place, "--metrics", "0") as served, holding(served, 1, 0, 400) as host:
        (before,) = listed(served)
        assert before["evicted"] == 0
        assert guest(place, "start", "one") == "one: on, 2048 KiB of EPC\n"
        (after,) = listed(served)
        assert after["evicted"] >= MIB // 2
        assert within(served, "one", KEYS.binary()).code == 0
        assert host.end() == 0


def test_bad_input_is_one_line(place: Path, served: Served) -> None:
    guest(place, "new", "off", "--epc", "4M")
    guest(place, "new", "large", "--epc", "28M")
    for name, why in (
        ("none", "no guest is named none"),
        ("off", "guest off is off; start it with `softsgx guest start off`"),
        ("../one", "'../one' is no name of a guest"),
    ):
        refused = within(served, name, "true")
        said = f"softsgx: {place}: {why}\n"
        assert (refused.code, refused.stderr) == (125, said)
    large = f"guest large has {28 * MIB} bytes of EPC"
    for words, why in (
        (("start", "large"), f"{large}; {24 * MIB} are left by those that run"),
        (("start", "one"), "guest one runs already"),
        (("start", "none"), "no guest is named none"),
        (("stop", "off"), "guest off does not run"),
        (("reset", "off"), "guest off does not run"),
        (("delete", "one"), "guest one runs; stop it first"),
    ):
        refused = softsgx(place, "guest", *words)
        said = why if words[0] == "delete" else f"{place}: {why}"
        assert (refused.code, refused.stderr) == (1, f"softsgx: {said}\n")


def test_a_run_that_was_in_a_guest_before_the_daemon_keeps_it(place: Path) -> None:
    with subprocess.Popen(
        [
            *(SOFTSGX, "run", "--platform", str(place), "--guest", "two"),
            *("--", "sh", "-c", "echo there; exec sleep 9999"),
        ],
        stdout=subprocess.PIPE,
    ) as before:
        assert before.stdout
        before.stdout.readline()
        busy = f"guest two: a program runs in it already, process {before.pid}"
        with daemon(place) as served:
            assert f"softsgx: {busy}\n" in served.said.read_text()
            refused = within(served, "two", "true")
            said = f"softsgx: {place}: {busy}\n"
            assert (refused.code, refused.stderr) == (125, said)
            refused = softsgx(place, "guest", "stop", "two")
            assert (refused.code, refused.stderr) == (1, said)
            assert within(served, "one", KEYS.binary()).code == 0
            before.kill()
            before.wait()
            assert within(served, "two", KEYS.binary()).code == 0


def test_a_platform_that_is_off_gives_its_guests_nothing(place: Path) -> None:
    here.softsgx("platform", "disable", place)
    with daemon(place) as served:
        assert within(served, "one", "test", "-c", "/dev/sgx_enclave").code == 1
        assert guest(place, "stop", "one") == "one: off, 4096 KiB of EPC\n"
        assert guest(place, "start", "one") == "one: on, 4096 KiB of EPC\n"


def test_a_guest_with_more_epc_than_the_daemon_has(tmp_path: Path) -> None:
    place = with_guests(tmp_path / "p", all_of="4M")
    softsgx(place, "policy", "guest", "one", "--oversubscribe", "yes")
    guest(place, "new", "one", "--epc", "16M")
    with daemon(place, "--metrics", "0") as served:
        guest(place, "start", "one")
        for _ in range(2):
            with (
                holding(served, 1, 2, 400) as host,
                holding(served, 1, 2, 400, guest="one") as one,
                holding(served, 1, 2, 400, guest="one") as two,
            ):
                seen = metrics(served)
                assert seen["softsgx_epc_bytes", "guests"] == 2 * MIB
                assert seen["softsgx_guest_epc_size_bytes", "one"] == 16 * MIB
                guest(place, "reset", "one")
                ends = [holder.process.wait(PATIENCE_S) for holder in (one, two)]
                assert ends == [-signal.SIGKILL] * 2
                done = within(served, "one", PAGING.binary())
                assert (done.code, done.stderr) == (0, "")
                assert free(served, "one") == 16 * MIB
                assert host.end() == 0
        guest(place, "stop", "one")
        assert settled(served) == []
        assert metrics(served)["softsgx_epc_bytes", "free"] == 4 * MIB
