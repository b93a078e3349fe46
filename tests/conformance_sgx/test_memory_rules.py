"""The owner's rules for executable memory, and Linux's own, under programs that run."""

import json
from pathlib import Path

import pytest

from softsgx.launch.memory import PERMISSIONS
from tests.conformance.here import new_platform, softsgx
from tests.conformance.run import SOFTSGX, run
from tests.conformance_sgx.build import BUILT, HERE, Program

pytestmark = [pytest.mark.runner, pytest.mark.slow]
EACCES, UNKNOWN = 13, 255
ALLOWED = (
    *("file", "data", "unmeasured", "dirty", "anonymous", "modified"),
    *("writable", "signature", "certificate"),
)
LINUX = {"declared": EACCES, "implied": EACCES, "noexec": EACCES}
BROKEN = {
    "execunmr": ("unmeasured",),
    "execdirty": ("dirty",),
    # The loader copies segments to memory before it adds them.
    "execanon": ("anonymous", "modified", "signature", "certificate"),
    "mapwx": ("writable",),
    "execsig": ("signature",),
}
"""What of the program each rule is about."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return new_platform(tmp_path_factory.mktemp("memory") / "p")


def apply(place: Path, memory: str) -> None:
    told = softsgx("policy", "show", "--toml", "--platform", place)
    head = told.partition("[memory]")[0]
    file = place.with_suffix(".toml")
    file.write_text(f"{head}\n[memory]\n{memory}\n")
    softsgx("policy", "apply", file, "--platform", place)


def tried(place: Path, *options: str, link: str = "dynamic") -> dict[str, int]:
    """Run the program, and return each thing's errno."""
    binary = str(Program("memory_rules", link, HERE / "policy").binary())
    command = [SOFTSGX, "run", "--platform", str(place), *options, "--", binary]
    done = run(command, BUILT)
    assert done.code == 0, done.stderr
    said = [line.split() for line in done.stdout.splitlines()]
    return {name: int(number) for name, number in said if int(number) != UNKNOWN}


def is_expected(found: dict[str, int], refused: tuple[str, ...]) -> bool:
    expected = {name: EACCES if name in refused else 0 for name in ALLOWED} | LINUX
    return found == {name: expected[name] for name in found} and {*ALLOWED} <= {*found}


def recorded(place: Path) -> set[tuple[str, str, str]]:
    told = run(
        [SOFTSGX, "audit", "tail", "-n", "100000", "--json", "--platform", str(place)],
        place,
    )
    records = [json.loads(line) for line in told.stdout.splitlines()]
    last = max(at for at, one in enumerate(records) if one["event"] == "policy")
    return {
        (one["rule"], one["permission"], one["verdict"])
        for one in records[last:]
        if one["event"] == "memory"
    }


@pytest.mark.parametrize(
    ("link", "mode"),
    [("dynamic", ()), ("static", ("--exact",)), ("static-pie", ())],
    ids=["dynamic", "static-exact", "static-pie"],
)
def test_without_rules_only_linuxs_own_refuse(
    place: Path, link: str, mode: tuple[str, ...]
) -> None:
    apply(place, 'mapwx = "off"')
    assert is_expected(tried(place, *mode, link=link), ())
    assert recorded(place) == set()


@pytest.mark.parametrize("rule", BROKEN)
def test_a_rule_refuses_what_it_names_and_says_which_permission_lacks(
    place: Path, rule: str
) -> None:
    apply(place, f'{rule} = "enforce"')
    assert is_expected(tried(place), BROKEN[rule])
    assert recorded(place) == {(f"memory.{rule}", PERMISSIONS[rule], "deny")}


@pytest.mark.parametrize("mode", [(), ("--exact",)], ids=["normal", "exact"])
def test_rules_that_are_only_watched_refuse_nothing(
    place: Path, mode: tuple[str, ...]
) -> None:
    apply(place, "\n".join(f'{rule} = "audit"' for rule in BROKEN))
    assert is_expected(tried(place, *mode), ())
    assert recorded(place) == {
        (f"memory.{rule}", PERMISSIONS[rule], "waived") for rule in BROKEN
    }
