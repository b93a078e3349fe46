"""Limits that an operator sets for programs on a daemon's platform."""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from softsgx.runner.task.cgroups import MountedHierarchy
from tests.conformance.run import SOFTSGX, Outcome, run
from tests.conformance_sgx.build import Program
from tests.service.serving import Served, daemon, new_platform

pytestmark = [pytest.mark.runner, pytest.mark.slow]
PAGING = Program("more_than_epc", "dynamic")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    directory = new_platform(tmp_path_factory.mktemp("served") / "p", "--epc", "16M")
    with daemon(directory) as one:
        yield one


@pytest.fixture
def place() -> Iterator[Path]:
    mount = MountedHierarchy().mount
    if mount is None:
        pytest.skip("no unified hierarchy is mounted here")
    top = Path(mount.place) / f"softsgx-daemon-{os.getpid()}"
    try:
        (top / "job").mkdir(parents=True)
    except OSError as error:
        with suppress(OSError):
            top.rmdir()
        pytest.skip(f"no cgroup can be made here: {error}")
    yield top
    (top / "job").rmdir()
    top.rmdir()


def cgroup(served: Served, *words: str | Path) -> Outcome:
    command = [SOFTSGX, "cgroup", *map(str, words), "--platform"]
    return run([*command, str(served.directory)], served.directory)


def test_a_limit_holds_for_programs_of_several_runs(
    served: Served, place: Path
) -> None:
    name = f"/{place.name}"
    done = cgroup(served, "set", name, "sgx_epc=1M")
    assert (done.code, done.stdout) == (0, f"{name}: sgx_epc 1048576\n")
    script = f"echo $$ > {place}/job/cgroup.procs; cat {place}/misc.max; exec "
    limited = served.run("/bin/sh", "-c", f"{script} {PAGING.binary()}")
    assert (limited.code, limited.stderr) == (0, "")
    assert limited.stdout == "sgx_epc 1048576\n"
    free = served.run(PAGING.binary())
    assert (free.code, free.stderr) == (0, "")
    shown = json.loads(cgroup(served, "get", place / "job", "--json").stdout)
    assert (shown["path"], shown["max"]) == (f"{name}/job", None)
    assert shown["current"] == shown["events"] == 0
    assert 900_000 < shown["peak"] <= 1 << 20
    rows = json.loads(cgroup(served, "list", "--json").stdout)
    found = {row["path"]: row for row in rows}
    assert found[name]["max"] == 1 << 20
    assert found[name]["events_local"] > 30
    assert found[name]["peak"] == shown["peak"]
    assert found["/"]["peak"] > 480 * 4096
    lines = cgroup(served, "list").stdout.splitlines()
    assert lines[0].split() == ["MAX", "CURRENT", "PEAK", "EVENTS", "CGROUP"]
    assert [line for line in lines if line.endswith(f"  {name}/job")]


def test_a_limit_can_be_taken_back(served: Served, place: Path) -> None:
    cgroup(served, "set", place, "sgx_epc=5K")
    assert cgroup(served, "set", place, "sgx_epc=max").stdout.endswith(" max\n")
    shown = cgroup(served, "get", place).stdout.splitlines()
    assert shown[0].split() == ["path", f"/{place.name}"]
    assert shown[1].split() == ["max", "max"]


def test_a_guests_epc_is_charged_to_who_turned_it_on_and_never_leaves(
    served: Served, place: Path
) -> None:
    on = f"--platform {served.directory}"

    def guest(*words: str) -> Outcome:
        """Run a command in the cgroup."""
        script = f"echo $$ > {place}/job/cgroup.procs; exec {SOFTSGX} guest"
        line = " ".join((script, *words, on))
        return run(["/bin/sh", "-c", line], served.directory)

    def current() -> int:
        shown = cgroup(served, "get", place, "--json").stdout
        return int(json.loads(shown)["current"])

    guest("new", "one", "--epc", "4M")
    cgroup(served, "set", place, "sgx_epc=3M")
    refused = guest("start", "one")
    assert refused.code == 1
    why = f"cgroup /{place.name}: 0 of {3 << 20} bytes in use"
    assert f"guest one has {4 << 20} bytes of EPC; the host cannot give them:" in (
        refused.stderr
    )
    assert why in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert guest("list").stdout == "one: off, 4096 KiB of EPC\n"
    cgroup(served, "set", place, "sgx_epc=5M")
    assert guest("start", "one").stdout == "one: on, 4096 KiB of EPC\n"
    assert current() == 4 << 20
    script = f"echo $$ > {place}/job/cgroup.procs; exec {PAGING.binary()}"
    beside = served.run("/bin/sh", "-c", script)
    assert (beside.code, beside.stderr) == (0, "")
    shown = json.loads(cgroup(served, "get", place, "--json").stdout)
    assert (shown["current"], shown["peak"]) == (4 << 20, 5 << 20)
    inside = served.run(PAGING.binary(), options=("--guest", "one"))
    assert (inside.code, inside.stderr) == (0, "")
    assert guest("reset", "one").code == 0
    assert current() == 4 << 20
    assert guest("stop", "one").code == 0
    assert guest("delete", "one").code == 0
    assert current() == 0


def test_programs_in_a_guest_share_limits_of_its_own(
    served: Served, place: Path
) -> None:
    def guest(*words: str) -> None:
        command = [SOFTSGX, "guest", *words, "--platform", str(served.directory)]
        assert run(command, served.directory).code == 0

    def within(script: str, *options: str) -> Outcome:
        return served.run("/bin/sh", "-c", script, options=options)

    guest("new", "two", "--epc", "4M")
    guest("start", "two")
    limit = f"echo 'sgx_epc 1048576' > {place}/misc.max"
    assert within(limit, "--guest", "two").code == 0
    shown = f"cat {place}/misc.max"
    assert within(shown, "--guest", "two").stdout == "sgx_epc 1048576\n"
    assert within(shown).stdout == "sgx_epc max\n"
    join = f"echo $$ > {place}/job/cgroup.procs; exec {PAGING.binary()}"
    for options in (("--guest", "two"), ()):
        done = within(join, *options)
        assert (done.code, done.stderr) == (0, "")
    peak = f"cat {place}/misc.peak"
    assert within(peak, "--guest", "two").stdout == "sgx_epc 1048576\n"
    assert int(within(peak).stdout.split()[1]) > 1 << 20
    guest("stop", "two")
    guest("delete", "two")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["set", "/no/such", "sgx_epc=1M"], 1, "there is no cgroup /no/such"),
        (["get", "../../no"], 1, "there is no cgroup /no"),
        (["set", "/", "sgx_epc=1M"], 1, "the root of all cgroups has no limit"),
        (["set", "/x", "sgx=1M"], 2, "'sgx=1M' is not like sgx_epc=16M or sgx_epc=max"),
        (["set", "/x", "sgx_epc=1Q"], 2, "'1Q' is not a size like 64M or 2GiB"),
        (["set", "/", f"sgx_epc={1 << 64}"], 1, f"{1 << 64} bytes are no limit"),
    ],
)
def test_what_cannot_be_is_refused_in_a_line(
    served: Served, words: list[str], code: int, said: str
) -> None:
    if MountedHierarchy().mount is None and "no cgroup" in said:
        pytest.skip("no unified hierarchy is mounted here")
    done = cgroup(served, *words)
    assert (done.code, done.stdout) == (code, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_without_a_daemon_there_is_nobody_to_ask(tmp_path: Path) -> None:
    directory = new_platform(tmp_path / "p")
    done = run([SOFTSGX, "cgroup", "list", "--platform", str(directory)], tmp_path)
    assert done.code == 1
    assert done.stderr.startswith(f"softsgx: {directory}: no daemon serves this")
