"""Changes of a policy, and that a lock holds against all of them."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softsgx.launch.change import (
    ALL_LISTS,
    Refused,
    allow,
    check_change,
    clear,
    give_leave,
    opened,
    remove,
)
from softsgx.launch.decide import decide
from softsgx.launch.entry import Entries, Entry
from softsgx.launch.guests import GuestRules, WhoseLists
from softsgx.launch.memory import MemoryRules, Setting
from softsgx.launch.policy import Edition, ListName, Mode, Policy
from tests.launch.asking import LAUNCH, MODE64, PROVISION, ask, entry, lists, signer

ME = "softsgx-0123"


def test_allow_and_remove() -> None:
    policy = allow(lists(signing="bob"), ListName.SIGNING, entry())
    assert [one.mrsigner for one in policy.signing.all] == [
        signer("bob"),
        signer("alice"),
    ]
    assert policy.serial == 1
    policy = remove(policy, ListName.SIGNING, signer("bob"))
    assert policy.signing.signers == (signer("alice"),)
    assert policy.serial == 2
    assert not clear(policy, ListName.SIGNING).signing
    with pytest.raises(Refused, match="signing has no entry of"):
        remove(policy, ListName.SIGNING, signer("bob"))


def test_a_full_list_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("softsgx.launch.change.MAX_ENTRIES", 1)
    with pytest.raises(Refused, match="signing has 1 entries, and cannot have more"):
        allow(lists(signing="bob"), ListName.SIGNING, entry())


@pytest.mark.parametrize(
    ("new", "locks", "message"),
    [
        ({"serial": 5}, set(), "its serial 5 is not above 5"),
        ({"serial": 4}, set(), "its serial 4 is not above 5"),
        ({"platform": "softsgx-other"}, set(), "it is for softsgx-other, and this is"),
        ({"lists": lists(signing="eve").lists}, {"signing"}, "signing is locked"),
        ({"mode": Mode.AUDIT}, {"launch"}, "a list is locked, and mode with it"),
        ({"edition": Edition.V29}, {"launch"}, "a list is locked, and edition"),
        ({"guests": {"a": GuestRules()}}, {"launch"}, "a list is locked, and guests"),
        ({"memory": MemoryRules(mapwx=Setting.AUDIT)}, {"launch"}, "and memory with"),
    ],
)
def test_what_may_not_follow(
    new: dict[str, object], locks: set[str], message: str
) -> None:
    old = replace(lists(signing="alice"), serial=5)
    changed = replace(old, **{"serial": 6, **new})  # type: ignore[arg-type]
    named = frozenset(ListName(name) for name in locks)
    with pytest.raises(Refused, match=message):
        check_change(old, changed, named, ME)


def test_what_is_not_locked_may_change() -> None:
    old = lists(signing="alice")
    new = replace(
        old, serial=1, platform=ME, lists=lists(signing="alice", launch="bob").lists
    )
    check_change(old, new, frozenset({ListName.SIGNING}), ME)
    check_change(old, replace(new, mode=Mode.AUDIT), frozenset(), ME)


NAMES = st.sampled_from(["alice", "bob", "carol"])
CHANGES = st.one_of(
    st.tuples(st.just("allow"), st.sampled_from(ListName), NAMES),
    st.tuples(st.just("remove"), st.sampled_from(ListName), NAMES),
    st.tuples(st.just("clear"), st.sampled_from(ListName), NAMES),
    st.tuples(st.just("mode"), st.sampled_from(Mode), NAMES),
    st.tuples(st.just("edition"), st.sampled_from(Edition), NAMES),
    st.tuples(st.just("memory"), st.sampled_from(Setting), NAMES),
)


def changed(policy: Policy, change: tuple[str, object, str]) -> Policy:
    what, value, name = change
    if what in ("mode", "edition"):
        return replace(policy, serial=policy.serial + 1, **{what: value})  # type: ignore[arg-type]
    if what == "memory":
        rules = MemoryRules(mapwx=value)  # type: ignore[arg-type]
        return replace(policy, serial=policy.serial + 1, memory=rules)
    assert isinstance(value, ListName)
    if what == "allow":
        return allow(policy, value, Entry(mrsigner=signer(name)))
    if what == "remove":
        return remove(policy, value, signer(name))
    return clear(policy, value)


def decisions(policy: Policy) -> list[object]:
    asked = (
        ask(name, attributes)
        for name in ("alice", "bob", "carol")
        for attributes in (MODE64, MODE64 | LAUNCH, MODE64 | PROVISION)
    )
    return [decide(policy, one) for one in asked]


@given(
    st.lists(CHANGES, max_size=12),
    st.sampled_from(
        [lists(), lists(signing="alice"), lists(launch="bob", dynamic="carol")]
    ),
)
def test_after_a_lock_no_changes_change_a_decision(
    changes: list[tuple[str, object, str]], start: Policy
) -> None:
    policy, before = start, decisions(start)
    for change in changes:
        try:
            new = changed(policy, change)
            check_change(policy, new, ALL_LISTS, ME)
        except Refused:
            continue
        policy = new
    assert decisions(policy) == before


def test_decisions_do_change_without_a_lock() -> None:
    policy = changed(lists(), ("allow", ListName.SIGNING, "bob"))
    check_change(lists(), policy, frozenset(), ME)
    assert decisions(policy) != decisions(lists())


def test_an_empty_list_means_nobody() -> None:
    match = Entries().find(ask())
    assert not match
    assert match.why_not == "the signer is not listed"
    assert Entries().signers == ()
    assert Entries()._by_signer == {}


def test_leave_for_a_guest_is_given_and_taken() -> None:
    both = GuestRules(provisioning=True, launch=WhoseLists.GUEST, oversubscribe=True)
    given = give_leave(Policy(), "one", both)
    assert (given.serial, given.guest("one")) == (1, both)
    assert list(opened(Policy(), given)) == [
        "guests.one: its enclaves may have PROVISIONKEY",
        "guests.one: the lists may be kept out of it",
        "guests.one: it may have more EPC than is left for it",
    ]
    assert list(opened(given, give_leave(given, "two", GuestRules()))) == []
    taken = give_leave(given, "one", GuestRules())
    assert (taken.serial, taken.guests) == (2, {})
