"""A policy as its file: TOML, versioned, every mistake named by line and key."""

import tomllib
from collections.abc import Iterator
from dataclasses import fields
from datetime import date
from typing import Any

from softsgx.launch import table as read
from softsgx.launch.entry import Entries, Entry
from softsgx.launch.guests import GUEST_NAME, GuestRules, WhoseLists
from softsgx.launch.memory import MemoryRules, Setting
from softsgx.launch.policy import (
    MAX_ENTRIES,
    MAX_SERIAL,
    Edition,
    ListName,
    Mode,
    Policy,
)
from softsgx.launch.table import Place, Table, WrongError
from softsgx.launch.where import line_of

VERSION = 1
MAX_SIZE = 32 << 20
"""Bytes of a policy file that are looked at."""

_HEAD = """\
# A launch policy of softsgx.  Check it with `softsgx policy check`.
"""


class PolicyError(Exception):
    """What is wrong with a policy's text: *line* from 1, *key* as it is written."""

    def __init__(self, line: int, key: str, what: str):
        super().__init__(": ".join(filter(None, (f"line {line}", key, what))))
        self.line, self.key, self.what = line, key, what


def decode_policy(raw: bytes) -> Policy:
    """Read a policy; PolicyError has the line, the key, and what was expected."""
    if len(raw) > MAX_SIZE:
        raise PolicyError(1, "", f"{len(raw)} bytes; at most {MAX_SIZE} are read")
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise PolicyError(line, "", "not UTF-8") from error
    try:
        return _policy(Table((), tomllib.loads(text)))
    except tomllib.TOMLDecodeError as error:
        raise _not_toml(error, text) from error
    except RecursionError as error:
        raise PolicyError(1, "", "nested too deep") from error
    except WrongError as wrong:
        raise PolicyError(
            line_of(text, wrong.place), _spelled(wrong.place), wrong.what
        ) from wrong


def _not_toml(error: tomllib.TOMLDecodeError, text: str) -> PolicyError:
    what, _, place = str(error).partition(" (at ")
    words = place.split()
    at_line = len(words) > 1 and words[0] == "line"
    line = int(words[1].strip(",")) if at_line else text.count("\n") + 1
    return PolicyError(line, "", f"not TOML: {what}")


def _spelled(place: Place) -> str:
    spelled = ""
    for step in place:
        spelled += f"[{step}]" if isinstance(step, int) else f".{step}"
    return spelled.removeprefix(".")


def _policy(table: Table) -> Policy:
    table.need("version", _version)
    policy = Policy(
        serial=table.take("serial", read.number(MAX_SERIAL + 1), 0),
        platform=table.take("platform", read.line, ""),
        edition=table.take("edition", read.word(Edition), Edition.SOFTSGX),
        mode=table.take("mode", read.word(Mode), Mode.ENFORCE),
        lists={name: _entries(table, name) for name in ListName},
        memory=_memory(Table(("memory",), table.take("memory", read.table, {}))),
        guests=_guests(table.take("guests", read.table, {})),
    )
    table.end()
    return policy


def _entries(table: Table, name: ListName) -> Entries:
    raw: list[dict[str, Any]] = table.take(name, read.tables, [])
    if len(raw) > MAX_ENTRIES:
        what = f"{len(raw)} entries; a list has at most {MAX_ENTRIES}"
        raise WrongError((str(name),), what)
    return Entries(
        tuple(_entry(Table((str(name), at), one)) for at, one in enumerate(raw))
    )


def _entry(table: Table) -> Entry:
    entry = Entry(
        mrsigner=table.need("mrsigner", read.digest),
        mrenclave=table.take("mrenclave", read.maybe(read.digest), None),
        isvprodid=table.take("isvprodid", read.maybe(read.number(1 << 16)), None),
        min_isvsvn=table.take("min_isvsvn", read.number(1 << 16), 0),
        debug=table.take("debug", read.flag, default=True),
        expires=table.take("expires", read.maybe(read.day), None),
        comment=table.take("comment", read.line, ""),
    )
    table.end()
    return entry


def _memory(table: Table) -> MemoryRules:
    settings = {
        rule.name: table.take(rule.name, read.word(Setting), Setting.OFF)
        for rule in fields(MemoryRules)
    }
    table.end()
    return MemoryRules(**settings)


def _guests(tables: dict[str, Any]) -> dict[str, GuestRules]:
    return {name: _guest(name, value) for name, value in tables.items()}


def _guest(name: str, value: object) -> GuestRules:
    place = ("guests", name)
    if not GUEST_NAME.fullmatch(name) or not isinstance(value, dict):
        raise WrongError(place, "a table [guests.NAME] of a guest is expected")
    table = Table(place, value)
    rules = GuestRules(
        provisioning=table.take("provisioning", read.flag, default=False),
        launch=table.take("launch", read.word(WhoseLists), WhoseLists.HOST),
        oversubscribe=table.take("oversubscribe", read.flag, default=False),
    )
    table.end()
    return rules


def _version(value: object) -> int:
    if value != VERSION or isinstance(value, bool):
        raise ValueError(f"this softsgx reads version {VERSION}")
    return VERSION


def encode_policy(policy: Policy) -> bytes:
    """Return a policy's file; reading it gives an equal policy."""
    return "\n".join(_lines(policy)).encode()


def _lines(policy: Policy) -> Iterator[str]:
    yield _HEAD + f"version = {VERSION}"
    yield f"serial = {policy.serial}"
    if policy.platform:
        yield f"platform = {_quoted(policy.platform)}"
    yield f'edition = "{policy.edition}"'
    yield f'mode = "{policy.mode}"'
    if policy.memory != MemoryRules():
        yield "\n[memory]"
        for rule in fields(policy.memory):
            yield f'{rule.name} = "{getattr(policy.memory, rule.name)}"'
    for guest, rules in sorted(policy.guests.items()):
        yield f"\n[guests.{_quoted(guest)}]"
        yield f"provisioning = {_toml(rules.provisioning)}"
        yield f"launch = {_quoted(rules.launch)}"
        yield f"oversubscribe = {_toml(rules.oversubscribe)}"
    for name in ListName:
        for entry in policy.lists[name].all:
            yield f"\n[[{name}]]"
            for key, value in entry.given().items():
                yield f"{key} = {_toml(value)}"
    yield ""


def _toml(value: str | int | date) -> str:
    match value:
        case str():
            return _quoted(value)
        case bool():
            return str(value).lower()
        case _:
            return str(value)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
