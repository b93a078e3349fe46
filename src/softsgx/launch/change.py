"""Changes of a policy, and what a lock forbids.  Pure: old in, new out, or Refused."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace

from softsgx.launch.entry import Entries, Entry
from softsgx.launch.guests import GuestRules, WhoseLists
from softsgx.launch.memory import Setting
from softsgx.launch.policy import MAX_ENTRIES, MAX_SERIAL, ListName, Mode, Policy

Locks = frozenset[ListName]
"""The lists that stay as they are until the platform is reset."""

ALL_LISTS: Locks = frozenset(ListName)


class Refused(Exception):  # noqa: N818 -- what happened, not a mistake
    """A change that is not made, in words for its owner."""


def allow(policy: Policy, name: ListName, entry: Entry) -> Policy:
    """Return the policy with an entry more at the end of a list."""
    entries = policy.lists[name].all
    if len(entries) >= MAX_ENTRIES:
        raise Refused(f"{name} has {MAX_ENTRIES} entries, and cannot have more")
    return _with(policy, name, (*entries, entry))


def remove(policy: Policy, name: ListName, mrsigner: bytes) -> Policy:
    """Return the policy without a signer's entries in a list; Refused if none is."""
    left = tuple(one for one in policy.lists[name].all if one.mrsigner != mrsigner)
    if len(left) == len(policy.lists[name]):
        raise Refused(f"{name} has no entry of {mrsigner.hex()}")
    return _with(policy, name, left)


def extend(policy: Policy, more: Mapping[ListName, Iterable[Entry]]) -> Policy:
    """Return the policy with the entries more that are not in its lists yet."""
    lists = dict(policy.lists)
    for name, entries in more.items():
        there = lists[name].all
        known = set(there)
        fresh = tuple(one for one in dict.fromkeys(entries) if one not in known)
        if len(there) + len(fresh) > MAX_ENTRIES:
            raise Refused(f"{name} cannot have more than {MAX_ENTRIES} entries")
        lists[name] = Entries((*there, *fresh))
    return replace(policy, serial=policy.serial + 1, lists=lists)


def give_leave(policy: Policy, name: str, rules: GuestRules) -> Policy:
    """Return the policy with a guest's table; what says nothing is left out."""
    guests = {**policy.guests, name: rules}
    kept = {name: one for name, one in guests.items() if one != GuestRules()}
    return replace(policy, serial=policy.serial + 1, guests=kept)


def clear(policy: Policy, name: ListName) -> Policy:
    """Return the policy with an empty list."""
    return _with(policy, name, ())


def _with(policy: Policy, name: ListName, entries: Iterable[Entry]) -> Policy:
    lists = {**policy.lists, name: Entries(tuple(entries))}
    return replace(policy, serial=policy.serial + 1, lists=lists)


def check_change(old: Policy, new: Policy, locks: Locks, identity: str) -> None:
    """Refuse a policy that may not follow another.

    It must be newer, for this platform (*identity*), and leave what is locked alone:
    the locked lists, and with any of them all that is no list.
    """
    if new.platform not in ("", identity):
        raise Refused(f"it is for {new.platform}, and this is {identity}")
    if new.serial > MAX_SERIAL:
        raise Refused(f"its serial {old.serial} was the last there is")
    if new.serial <= old.serial:
        raise Refused(f"its serial {new.serial} is not above {old.serial}")
    for name in sorted(locks):
        if new.lists[name] != old.lists[name]:
            raise Refused(f"{name} is locked until the platform is reset")
    frozen = ("edition", "mode", "memory", "guests") if locks else ()
    for what in frozen:
        if getattr(new, what) != getattr(old, what):
            raise Refused(f"a list is locked, and {what} with it")


def opened(old: Policy, new: Policy) -> Iterator[str]:
    """Yield, in words, what the one refused to everybody and the other does not."""
    if (old.signing or old.launch) and not (new.signing or new.launch):
        yield "signing and launch are empty: every signer may launch"
    if old.dynamic and not new.dynamic:
        yield "dynamic is empty: every enclave may map and protect pages after INIT"
    if old.mode is Mode.ENFORCE and new.mode is Mode.AUDIT:
        yield "mode is audit: refusals are written down and let pass"
    for name, rules in new.guests.items():
        was_given = old.guest(name)
        if rules.provisioning and not was_given.provisioning:
            yield f"guests.{name}: its enclaves may have PROVISIONKEY"
        if rules.launch is WhoseLists.GUEST and was_given.launch is WhoseLists.HOST:
            yield f"guests.{name}: the lists may be kept out of it"
        if rules.oversubscribe and not was_given.oversubscribe:
            yield f"guests.{name}: it may have more EPC than is left for it"
    for rule in fields(old.memory):
        was, now = getattr(old.memory, rule.name), getattr(new.memory, rule.name)
        if was is Setting.ENFORCE and now is not Setting.ENFORCE:
            yield f"memory.{rule.name} is {now}: it refuses nothing"
