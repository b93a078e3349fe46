"""Our edition: what the posted patches evidently meant."""

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softsgx.arch.secs import AttributeFlags
from softsgx.launch.decide import decide
from softsgx.launch.decision import Refusal
from softsgx.launch.entry import Entries
from softsgx.launch.policy import Edition, ListName, Mode, Policy
from softsgx.launch.request import Request
from tests.launch.asking import (
    DEBUG,
    LAUNCH,
    MASKED,
    MODE64,
    PROVISION,
    TODAY,
    ask,
    decided,
    entry,
    lists,
    outcome,
    signer,
    signing,
    token,
)

LE, PE = MODE64 | LAUNCH, MODE64 | PROVISION


@pytest.mark.parametrize(
    ("listed", "attributes", "fd", "with_token", "expected"),
    [
        # no list: stock Linux
        ({}, MODE64, False, False, "own"),
        ({}, MODE64, False, True, "own"),
        ({}, PE, False, False, "EACCES"),
        ({}, PE, True, False, "own"),
        ({}, LE, False, False, "EACCES"),
        ({}, LE | PROVISION, True, False, "EACCES"),
        # signing: only those
        ({"signing": "alice"}, MODE64, False, False, "own"),
        ({"signing": "bob"}, MODE64, False, False, "EPERM"),
        ({"signing": "bob"}, MODE64, False, True, "EPERM"),
        ({"signing": "alice"}, LE, False, False, "EACCES"),
        ({"signing": "alice"}, PE, False, False, "EACCES"),
        ({"signing": "alice"}, PE, True, False, "own"),
        # launch: launch enclaves, and whoever has a token of theirs
        ({"launch": "alice"}, LE, False, False, "own"),
        ({"launch": "bob"}, LE, False, False, "EACCES"),
        ({"launch": "bob"}, MODE64, False, True, "token"),
        ({"launch": "bob"}, MODE64, False, False, "EPERM"),
        ({"launch": "alice"}, MODE64, False, False, "EPERM"),
        # both: a signer, or a token; and a signer in both may be a launch enclave
        ({"signing": "alice", "launch": "bob"}, MODE64, False, False, "own"),
        ({"signing": "carol", "launch": "bob"}, MODE64, False, True, "token"),
        ({"signing": "carol", "launch": "bob"}, MODE64, False, False, "EPERM"),
        ({"signing": "alice", "launch": "alice"}, LE, False, False, "own"),
        ({"signing": "bob", "launch": "alice"}, LE, False, False, "own"),
        # provisioning: an attribute, and no leave to launch
        ({"provisioning": "alice"}, PE, False, False, "own"),
        ({"provisioning": "bob"}, PE, False, False, "EACCES"),
        ({"provisioning": "bob"}, PE, True, False, "own"),
        ({"provisioning": "alice", "signing": "bob"}, PE, False, False, "EPERM"),
        ({"provisioning": "alice", "signing": "alice"}, PE, False, False, "own"),
        # dynamic says nothing of launching
        ({"dynamic": "bob"}, MODE64, False, False, "own"),
    ],
)
def test_the_decision_table(
    listed: dict[str, Any],
    attributes: AttributeFlags,
    *,
    fd: bool,
    with_token: bool,
    expected: str,
) -> None:
    request = ask(attributes=attributes, fd=fd, token=token() if with_token else None)
    assert decided(lists(**listed), request) == expected


@pytest.mark.parametrize(
    ("listed", "attributes", "with_token", "expected"),
    [
        # no list: the processor decides, and the launch enclave
        ({}, MODE64, False, "allow"),
        ({}, MODE64, True, "allow"),
        ({}, LE, False, "allow"),
        ({}, PE, True, "allow"),
        # a list with entries binds
        ({"launch": "alice"}, LE, False, "allow"),
        ({"launch": "bob"}, LE, False, "EACCES"),
        ({"launch": "bob"}, MODE64, True, "allow"),
        ({"launch": "bob"}, MODE64, False, "EPERM"),
        ({"signing": "alice"}, MODE64, False, "allow"),
        ({"signing": "bob"}, MODE64, True, "EPERM"),
        ({"signing": "alice"}, LE, False, "allow"),
        ({"signing": "bob"}, LE, False, "EPERM"),
        ({"signing": "carol", "launch": "bob"}, MODE64, True, "allow"),
        ({"provisioning": "alice"}, PE, True, "allow"),
        ({"provisioning": "bob"}, PE, True, "EACCES"),
    ],
)
def test_the_decision_table_of_a_locked_processor(
    listed: dict[str, Any],
    attributes: AttributeFlags,
    *,
    with_token: bool,
    expected: str,
) -> None:
    given = token() if with_token else None
    for edition in Edition:
        request = ask(attributes=attributes, token=given, locked=True)
        decision = decide(lists(edition, **listed), request)
        assert decision.launchkeys == ()
        assert decision.takes_token is with_token
        assert outcome(decision) == expected.replace("allow", "token")


def test_tokens_are_tried_with_each_launch_key_in_order() -> None:
    policy = lists(launch="bob carol bob")
    decision = decide(policy, ask(token=token()))
    assert decision.launchkeys == (signer("bob"), signer("carol"))
    assert decision.takes_token
    listed = decide(lists(signing="alice", launch="bob"), ask(token=token()))
    assert not listed.takes_token


def test_without_a_launch_list_a_token_is_not_looked_at() -> None:
    decision = decide(lists(signing="bob"), ask(token=token()))
    assert (decision.rule, decision.takes_token) == ("signing", False)


@pytest.mark.parametrize(
    ("narrowed", "reason"),
    [
        ({"mrenclave": bytes([1]) * 32}, "MRENCLAVE is not 0101"),
        ({"isvprodid": 3}, "ISVPRODID is 2, not 3"),
        ({"min_isvsvn": 6}, "ISVSVN is 5, below 6"),
        ({"debug": False}, "DEBUG enclaves are kept out"),
        ({"expires": TODAY - timedelta(days=1)}, "the entry expired on 2030-06-14"),
    ],
)
def test_a_narrow_entry_means_only_what_it_says(
    narrowed: dict[str, Any], reason: str
) -> None:
    request = ask(attributes=MODE64 | DEBUG, isvprodid=2, isvsvn=5)
    decision = decide(signing(entry(**narrowed)), request)
    assert decision.refusal is Refusal.SIGNER
    assert reason in decision.reason
    assert decision.rule == "signing"
    both = decide(signing(entry(**narrowed), entry()), request)
    assert (both.is_allowed, both.rule) == (True, "signing[1]")


@pytest.mark.parametrize(
    "narrowed",
    [
        {"mrenclave": bytes([7]) * 32},
        {"isvprodid": 2},
        {"min_isvsvn": 5},
        {"debug": True},
        {"expires": TODAY},
    ],
)
def test_an_entry_that_fits_allows(narrowed: dict[str, Any]) -> None:
    hashed = bytes([7]) * 32
    request = ask(attributes=MODE64 | DEBUG, enclavehash=hashed, isvprodid=2, isvsvn=5)
    assert decide(signing(entry(**narrowed)), request).rule == "signing[0]"


def test_a_list_that_grew_old_opens_nothing() -> None:
    policy = signing(entry("bob", expires=date(2020, 1, 1)))
    assert decided(policy, ask()) == "EPERM"


@pytest.mark.parametrize(
    ("narrowed", "fields", "honoured"),
    [
        ({"isvprodid": 32}, {"isvprodidle": 32}, True),
        ({"isvprodid": 32}, {"isvprodidle": 31}, False),
        ({"min_isvsvn": 3}, {"isvsvnle": 3}, True),
        ({"min_isvsvn": 3}, {"isvsvnle": 2}, False),
        ({"debug": False}, {}, True),
        ({"debug": False}, {"maskedattributesle": MASKED}, False),
        ({"expires": TODAY}, {}, True),
        ({"expires": TODAY - timedelta(days=1)}, {}, False),
    ],
)
def test_a_token_counts_if_its_launch_enclave_is_meant(
    narrowed: dict[str, Any], fields: dict[str, Any], *, honoured: bool
) -> None:
    named = {**Policy().lists, ListName.LAUNCH: Entries((entry("bob", **narrowed),))}
    decision = decide(Policy(lists=named), ask(token=token(**fields)))
    assert decision.is_allowed is honoured
    assert decision.launchkeys == ((signer("bob"),) if honoured else ())


@pytest.mark.parametrize(
    ("listed", "dynamic"), [("", True), ("alice", True), ("bob", False)]
)
def test_dynamic_names_who_may_map_after_init(listed: str, *, dynamic: bool) -> None:
    assert decide(lists(dynamic=listed), ask()).is_dynamic is dynamic


def test_a_grant_and_a_lack_are_told() -> None:
    by_list = decide(lists(signing="alice", provisioning="bob alice"), ask("alice", PE))
    assert by_list.reason == "the signer is listed; PROVISIONKEY by provisioning[1]"
    by_fd = decide(lists(provisioning="bob"), ask("alice", PE, fd=True))
    assert by_fd.reason.endswith("; PROVISIONKEY by /dev/sgx_provision")
    static = decide(lists(signing="alice", dynamic="bob"), ask())
    assert static.reason == (
        "the signer is listed; it may map nothing after INIT: the signer is not listed"
    )


def test_the_reason_names_the_rule_and_the_signer_list() -> None:
    decision = decide(lists(signing="bob"), ask())
    assert decision.rule == "signing"
    assert decision.reason == (
        "the signer may not launch enclaves here: the signer is not listed"
    )
    decision = decide(lists(), ask(attributes=LE))
    assert "EINITTOKENKEY: no launch enclave is listed" in decision.reason


NAMES = st.lists(st.sampled_from(["alice", "bob", "carol"]), max_size=3).map(" ".join)
POLICIES = st.builds(
    lists,
    st.sampled_from(Edition),
    signing=NAMES,
    launch=NAMES,
    provisioning=NAMES,
    dynamic=NAMES,
)
REQUESTS = st.builds(
    lambda name, attributes, fd, with_token: ask(
        name, attributes, fd=fd, token=token() if with_token else None
    ),
    st.sampled_from(["alice", "bob", "carol"]),
    st.sampled_from([MODE64, LE, PE, LE | PROVISION]),
    st.booleans(),
    st.booleans(),
)


@given(POLICIES, REQUESTS)
def test_audit_mode_lets_everything_pass_as_stock(
    policy: Policy, request: Request
) -> None:
    watched = decide(replace(policy, mode=Mode.AUDIT), request)
    strict = decide(policy, request)
    assert watched.is_allowed
    assert watched.is_dynamic
    assert watched.launchkeys
    assert watched.is_waived is (not strict.is_allowed or not strict.is_dynamic)
    assert (watched.rule, watched.reason) == (strict.rule, strict.reason)


@given(POLICIES, REQUESTS)
def test_what_is_allowed_has_all_it_wants_and_a_key_to_try(
    policy: Policy, request: Request
) -> None:
    decision = decide(policy, request)
    if decision.is_allowed:
        assert request.wants & ~decision.granted == 0
        assert decision.launchkeys
    assert decision.reason
