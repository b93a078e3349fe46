"""Programs in cgroups of this machine, with limits on what they have of the EPC."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from softsgx.runner.task.cgroups import MountedHierarchy
from tests.conformance.run import SOFTSGX, Outcome, run
from tests.conformance_sgx.build import HERE, Program

pytestmark = [pytest.mark.runner, pytest.mark.slow]
MODES = pytest.mark.parametrize("mode", [(), ("--exact",)], ids=["normal", "exact"])
PAGING = Program("more_than_epc", "dynamic")
LIMITED = Program("limited", "dynamic", HERE / "cgroup")


@pytest.fixture
def place() -> Iterator[Path]:
    """A cgroup with two below it, where this machine lets us make some."""
    mount = MountedHierarchy().mount
    if mount is None:
        pytest.skip("no unified hierarchy is mounted here")
    top = Path(mount.place) / f"softsgx-{os.getpid()}"
    made = [top, top / "one", top / "two"]
    try:
        for path in made:
            path.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup can be made here: {error}")
    yield top
    for path in reversed(made):
        with suppress(FileNotFoundError):
            path.rmdir()


def sh(script: str, *options: str, where: Path) -> Outcome:
    return run([SOFTSGX, "run", *options, "--", "sh", "-c", script], where)


def inside(place: Path, command: str) -> str:
    """Return what runs a command in a cgroup."""
    return f"sh -c 'echo $$ > {place}/cgroup.procs; exec {command}'"


@MODES
def test_a_limit_that_is_lowered_hurts_nobody_but_what_comes(
    place: Path, mode: tuple[str, ...]
) -> None:
    binary = LIMITED.binary()
    done = sh(inside(place, f"{binary} {place}"), *mode, where=binary.parent)
    assert (done.code, done.stderr) == (0, "")


@MODES
def test_of_two_that_page_only_the_limited_one_does(
    place: Path, mode: tuple[str, ...]
) -> None:
    binary = PAGING.binary()
    script = (
        f"cd {place}; echo sgx_epc 1048576 > one/misc.max || exit 1;"
        f"{inside(place / 'one', str(binary))} & one=$!;"
        f"{inside(place / 'two', str(binary))} || exit 2; wait $one || exit 3;"
        "cat one/misc.peak two/misc.peak two/misc.events misc.events;"
        "cat one/misc.events misc.current"
    )
    done = sh(script, *mode, where=binary.parent)
    assert (done.code, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    numbers = [int(line.split()[1]) for line in lines]
    limited, other, none, both, events, left = numbers
    assert 900_000 < limited <= 1 << 20
    assert other > 480 * 4096
    assert none == left == 0
    assert both == events > 30


def test_a_program_that_moves_pays_in_its_new_cgroup(place: Path) -> None:
    binary = PAGING.binary()
    script = (
        f"cd {place}; {inside(place / 'one', str(binary))} & one=$!;"
        "while ! grep -qE ' [1-9]' one/misc.current; do sleep 0.01; done;"
        "echo $one > two/cgroup.procs; echo sgx_epc 0 > one/misc.max;"
        "wait $one || exit 3; grep -cE ' [1-9]' one/misc.peak two/misc.peak;"
        "cat one/misc.events"
    )
    done = sh(script, where=binary.parent)
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout == "one/misc.peak:1\ntwo/misc.peak:1\nsgx_epc.max 0\n"


def test_a_shell_reads_the_root_and_finds_no_limit_there(place: Path) -> None:
    done = sh(
        f"cd {place.parent}; ls | grep misc; cat misc.capacity; "
        "test -e misc.max || echo none; stat -c %A%u misc.peak",
        *("--epc", "8M"),
        where=place,
    )
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        *("misc.capacity", "misc.current", "misc.peak"),
        "sgx_epc 8388608",
        "none",
        "-r--r--r--0",
    ]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is another user at will")
def test_only_the_owner_of_a_cgroup_writes_its_limit(place: Path) -> None:
    os.chown(place / "two", 65534, 65534)
    as_nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups sh -c"
    script = (
        f"cd {place}; {as_nobody} 'echo sgx_epc 5 > one/misc.max';"
        f"{as_nobody} 'echo sgx_epc 8192 > two/misc.max'; cat one/misc.max two/misc.max"
    )
    done = sh(script, where=Path("/"))
    assert done.stdout == "sgx_epc max\nsgx_epc 8192\n"
    assert "ermission denied" in done.stderr
