"""The decision tables of the patches as posted; the comments name the rule there."""

import pytest

from softsgx.arch.secs import AttributeFlags
from softsgx.launch.decide import decide
from softsgx.launch.entry import Entries
from softsgx.launch.policy import Edition, ListName, Policy
from tests.launch.asking import (
    LAUNCH,
    MODE64,
    PROVISION,
    ask,
    decided,
    entry,
    lists,
    token,
)

LE, PE = MODE64 | LAUNCH, MODE64 | PROVISION

V29 = [
    ({}, MODE64, "own"),
    ({}, LE, "EACCES"),
    ({"signing": "alice"}, MODE64, "own"),
    # (d): its signing list alone denies nobody
    ({"signing": "bob"}, MODE64, "own"),
    # (a): signing is looked at first and does not grant the bit
    ({"signing": "alice", "launch": "alice"}, LE, "EACCES"),
    # (b): who may be a launch enclave
    ({"launch": "alice"}, LE, "own"),
    ({"launch": "bob"}, LE, "EACCES"),
    ({"signing": "bob"}, LE, "EACCES"),
    # (c): each launch key, with whatever token there is
    ({"launch": "bob"}, MODE64, "token"),
    ({"launch": "alice"}, MODE64, "own"),
    # provisioning comes before everything
    ({"provisioning": "alice"}, PE, "own"),
    ({"provisioning": "bob"}, PE, "EACCES"),
    ({"provisioning": "alice", "launch": "bob"}, PE, "token"),
]

V41 = [
    ({}, MODE64, "own"),
    ({}, LE, "EACCES"),
    ({"signing": "alice"}, MODE64, "own"),
    # no signer: a hash of zeros is tried, which EINIT refuses
    ({"signing": "bob"}, MODE64, "EPERM"),
    ({"signing": "bob"}, LE, "EACCES"),
    ({"signing": "bob"}, PE, "EACCES"),
    ({"signing": "alice", "launch": "alice"}, LE, "EACCES"),
    ({"launch": "alice"}, LE, "own"),
    ({"launch": "bob"}, LE, "EACCES"),
    ({"launch": "bob"}, MODE64, "token"),
    ({"launch": "alice"}, MODE64, "own"),
    ({"signing": "bob", "launch": "carol"}, MODE64, "token"),
    ({"provisioning": "alice"}, PE, "own"),
    ({"provisioning": "alice", "signing": "bob"}, PE, "EPERM"),
]


ROWS = [(Edition.V29, *row) for row in V29] + [(Edition.V41, *row) for row in V41]


@pytest.mark.parametrize(("edition", "listed", "attributes", "expected"), ROWS)
@pytest.mark.parametrize("with_token", [False, True])
def test_the_table_of_the_patch(
    edition: Edition,
    listed: dict[str, str],
    attributes: AttributeFlags,
    expected: str,
    *,
    with_token: bool,
) -> None:
    request = ask(attributes=attributes, token=token() if with_token else None)
    assert decided(lists(edition, **listed), request) == expected


@pytest.mark.parametrize(("edition", "listed", "attributes", "expected"), ROWS)
def test_whoever_gives_a_token_has_it_looked_at(
    edition: Edition, listed: dict[str, str], attributes: AttributeFlags, expected: str
) -> None:
    decision = decide(lists(edition, **listed), ask(attributes=attributes))
    assert decision.takes_token is (expected in ("own", "token"))


@pytest.mark.parametrize("edition", [Edition.V29, Edition.V41])
def test_a_provision_fd_still_counts(edition: Edition) -> None:
    assert decided(lists(edition), ask(attributes=PE, fd=True)) == "own"


def test_v29_knows_no_dynamic_list() -> None:
    assert decide(lists(Edition.V29, dynamic="bob"), ask()).is_dynamic


@pytest.mark.parametrize(
    ("listed", "dynamic"), [("", False), ("bob", False), ("alice", True)]
)
def test_v41_maps_nothing_after_init_unless_listed(
    listed: str, *, dynamic: bool
) -> None:
    decision = decide(lists(Edition.V41, dynamic=listed), ask())
    assert decision.is_dynamic is dynamic


@pytest.mark.parametrize("edition", [Edition.V29, Edition.V41])
def test_a_narrow_entry_is_none_in_a_list_of_signers(edition: Edition) -> None:
    named = {
        **Policy().lists,
        ListName.PROVISIONING: Entries((entry(min_isvsvn=1),)),
    }
    policy = Policy(edition=edition, lists=named)
    assert decided(policy, ask(attributes=PE, isvsvn=9)) == "EACCES"
