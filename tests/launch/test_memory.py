"""The rules once proposed for Linux's security modules."""

import pytest

from softsgx.launch.memory import (
    Load,
    MemoryRules,
    Setting,
    decide_init,
    decide_load,
    decide_map,
)

ALL = MemoryRules(
    **dict.fromkeys(
        ("execunmr", "execdirty", "execanon", "mapwx", "execsig"), Setting.ENFORCE
    )
)


@pytest.mark.parametrize(
    ("load", "broken"),
    [
        (Load(writable=True), []),
        (Load(executable=True, measured=True, from_file=True), []),
        (Load(executable=True, from_file=True), ["execunmr"]),
        (Load(executable=True, measured=True), ["execanon"]),
        (
            Load(executable=True, writable=True, measured=True, from_file=True),
            ["execdirty"],
        ),
        (Load(executable=True, writable=True), ["execunmr", "execdirty", "execanon"]),
    ],
)
def test_what_adding_pages_breaks(load: Load, broken: list[str]) -> None:
    assert [breach.rule for breach in decide_load(ALL, load)] == broken
    assert decide_load(MemoryRules(), load) == []


def test_each_rule_has_its_own_setting_and_permission() -> None:
    rules = MemoryRules(execunmr=Setting.AUDIT, execanon=Setting.ENFORCE)
    unmeasured, anonymous = decide_load(rules, Load(executable=True))
    assert (unmeasured.permission, unmeasured.is_refused) == ("sgx_execunmr", False)
    assert (anonymous.permission, anonymous.is_refused) == ("sgx_execanon", True)


@pytest.mark.parametrize(
    ("writable", "executable", "count"),
    [(False, False, 0), (True, False, 0), (False, True, 0), (True, True, 1)],
)
def test_writable_and_executable_mappings(
    *, writable: bool, executable: bool, count: int
) -> None:
    assert len(decide_map(ALL, writable=writable, executable=executable)) == count
    assert decide_map(MemoryRules(), writable=writable, executable=executable) == []


def test_a_certificate_comes_from_a_file() -> None:
    assert decide_init(ALL, from_file=True) == []
    assert [one.permission for one in decide_init(ALL, from_file=False)] == ["execute"]
    assert decide_init(MemoryRules(), from_file=False) == []
