"""Policies in words: tables for people, plain values for machines."""

from collections.abc import Iterator
from dataclasses import asdict
from datetime import date

from softsgx.launch.entry import Entry
from softsgx.launch.memory import Setting
from softsgx.launch.policy import ListName
from softsgx.platform.policies import Rule

EMPTY = "empty: as Linux has it"
NO_OWNER = "none: the permissions of the platform's files are the only factor"


def plain(value: object) -> str:
    """Write a word so that nothing in it moves a terminal or begins a line."""
    text = str(value)
    return text if text.isprintable() else repr(text)


def policy_words(rule: Rule, identity: str) -> dict[str, object]:
    """Return what holds on a platform, as JSON has it."""
    policy = rule.policy
    return {
        "platform": identity,
        "owner": rule.owner.fingerprint if rule.owner else None,
        "serial": policy.serial,
        "edition": policy.edition,
        "mode": policy.mode,
        "locked": sorted(rule.locks),
        "memory": asdict(policy.memory),
        "guests": {name: asdict(rules) for name, rules in policy.guests.items()},
        "lists": {
            name: [_entry(entry) for entry in policy.lists[name].all]
            for name in ListName
        },
    }


def _entry(entry: Entry) -> dict[str, str | int]:
    given = entry.given()
    return {
        key: value.isoformat() if isinstance(value, date) else value
        for key, value in given.items()
    }


def policy_table(rule: Rule, identity: str, today: date) -> Iterator[str]:
    """Yield the lines that a person reads; *today* is a day of UTC."""
    policy = rule.policy
    yield f"platform     {identity}"
    yield f"owner        {rule.owner.fingerprint if rule.owner else NO_OWNER}"
    kind = f"edition {policy.edition}, {policy.mode}"
    yield f"policy       serial {policy.serial}, {kind}"
    settings = asdict(policy.memory)
    on = [f"{name} {how}" for name, how in settings.items() if how is not Setting.OFF]
    yield f"memory       {', '.join(on) or 'as Linux has it'}"
    for guest, rules in policy.guests.items():
        provisioning = "PROVISIONKEY" if rules.provisioning else "no PROVISIONKEY"
        yield f"guest        {guest}: {provisioning}, lists of the {rules.launch}"
    for name in ListName:
        entries = policy.lists[name].all
        locked = ", locked until reset" if name in rule.locks else ""
        number = f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'}"
        yield f"{name:12} {number if entries else EMPTY}{locked}"
        for entry in entries:
            words = _entry(entry)
            signer = words.pop("mrsigner")
            said = "".join(f"  {key} {value}" for key, value in words.items())
            yield f"  {signer}{said}{'  EXPIRED' if entry.has_expired(today) else ''}"
