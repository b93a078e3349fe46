"""Policies of a platform: which holds, who may change it, what a kill leaves."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softsgx.crypto.sshsig import SshSignatureError
from softsgx.launch.change import ALL_LISTS, Refused, allow, clear
from softsgx.launch.entry import Entry
from softsgx.launch.policy import MAX_SERIAL, ListName, Policy
from softsgx.launch.text import PolicyError, encode_policy
from softsgx.platform import policies as policies_module
from softsgx.platform.audit import Who
from softsgx.platform.errors import PlatformError
from softsgx.platform.platform import Platform
from softsgx.platform.policies import Policies, Rule
from tests.crypto.signer import Owner

ME = "softsgx-0123"
WHO = Who(pid=1, uid=0, exe="", cgroup="")
SEED = bytes(32)
ALICE = Entry(mrsigner=b"\xaa" * 32)


@pytest.fixture
def policies(tmp_path: Path) -> Policies:
    made = Policies(tmp_path, ME, SEED)
    made.begin()
    return made


def with_alice(policy: Policy) -> Policy:
    return allow(policy, ListName.SIGNING, ALICE)


def test_without_files_it_is_stock_linux(policies: Policies) -> None:
    assert policies.rule().policy == Policy()
    assert policies.rule().owner is None
    assert policies.rule().locks == frozenset()


def test_a_change_holds_at_once_and_for_everyone(
    policies: Policies, tmp_path: Path
) -> None:
    other = Policies(tmp_path, ME, SEED)
    assert not other.rule().policy.signing
    policies.change(with_alice, WHO)
    assert other.rule().policy.signing.signers == (ALICE.mrsigner,)
    assert policies.rule() == other.rule()
    assert [one["event"] for one in policies.log.records()] == ["new", "policy"]


def test_apply_takes_a_file(policies: Policies) -> None:
    raw = encode_policy(replace(with_alice(Policy()), serial=9))
    assert policies.apply(raw, "", WHO).serial == 9
    assert policies.rule().policy.serial == 9


@pytest.mark.parametrize(
    ("raw", "error"),
    [
        (b"version = 3\n", PolicyError),
        (b"version = 1\nserial = 0\n", Refused),
        (b"version = 1\nserial = 1\nplatform = 'softsgx-other'\n", Refused),
    ],
)
def test_what_is_refused_changes_nothing_and_is_written_down(
    policies: Policies, raw: bytes, error: type[Exception]
) -> None:
    before = policies.rule()
    with pytest.raises(error):
        policies.apply(raw, "", WHO)
    assert policies.rule() == before
    _, record = policies.log.records()
    assert record["event"] == "policy-refused"
    assert record["reason"]


def test_a_lock_holds_until_reset(policies: Policies) -> None:
    policies.change(with_alice, WHO)
    policies.lock(frozenset({ListName.SIGNING}), WHO)
    with pytest.raises(Refused, match="signing is locked"):
        policies.change(lambda one: clear(one, ListName.SIGNING), WHO)
    policies.change(lambda one: allow(one, ListName.LAUNCH, ALICE), WHO)
    policies.lock(ALL_LISTS, WHO)
    with pytest.raises(Refused, match="a list is locked, and the owner's key with it"):
        policies.own(Owner().key, "", WHO)
    policies.reset(WHO)
    policies.change(lambda one: clear(one, ListName.SIGNING), WHO)
    assert not policies.rule().policy.signing


def test_an_owner_signs_every_change(policies: Policies) -> None:
    owner, thief = Owner(), Owner()
    policies.own(owner.key, "", WHO)
    assert policies.rule().owner == owner.key
    with pytest.raises(Refused, match="the owner must sign for it"):
        policies.change(with_alice, WHO)
    raw = encode_policy(replace(with_alice(Policy()), platform=ME))
    with pytest.raises(Refused, match="has not signed it"):
        policies.apply(raw, "", WHO)
    with pytest.raises(SshSignatureError, match="signature: another key made it"):
        policies.apply(raw, thief.sign(raw), WHO)
    with pytest.raises(SshSignatureError, match="does not fit"):
        policies.apply(raw, owner.sign(raw + b"\n"), WHO)
    policies.apply(raw, owner.sign(raw), WHO)
    assert policies.rule().policy.signing
    with pytest.raises(Refused, match="its serial 1 is not above 1"):
        policies.apply(raw, owner.sign(raw), WHO)
    anywhere = encode_policy(replace(Policy(), serial=5))
    with pytest.raises(Refused, match="it names no platform"):
        policies.apply(anywhere, owner.sign(anywhere), WHO)
    elsewhere = encode_policy(Policy(serial=5, platform="softsgx-other"))
    with pytest.raises(Refused, match="it is for softsgx-other"):
        policies.apply(elsewhere, owner.sign(elsewhere), WHO)


def test_what_is_locked_is_said_before_a_signature_is_asked_for(
    policies: Policies,
) -> None:
    policies.own(Owner().key, "", WHO)
    policies.lock(ALL_LISTS, WHO)
    with pytest.raises(Refused, match="signing is locked"):
        policies.change(with_alice, WHO)


def test_an_owner_hands_over_with_a_signature(policies: Policies) -> None:
    first, second = Owner(), Owner()
    policies.own(first.key, "", WHO)
    with pytest.raises(Refused, match="has not signed"):
        policies.own(second.key, "", WHO)
    text = policies.handover(second.key)
    with pytest.raises(SshSignatureError):
        policies.own(second.key, second.sign(text), WHO)
    policies.own(second.key, first.sign(text), WHO)
    assert policies.rule().owner == second.key


def test_a_handover_is_good_for_one_platform_and_once(
    policies: Policies, tmp_path: Path
) -> None:
    first, second = Owner(), Owner()
    (tmp_path / "other").mkdir()
    other = Policies(tmp_path / "other", "softsgx-other", SEED)
    other.begin()
    for one in (policies, other):
        one.own(first.key, "", WHO)
    signature = first.sign(policies.handover(second.key))
    with pytest.raises(SshSignatureError, match="does not fit"):
        other.own(second.key, signature, WHO)
    policies.own(second.key, signature, WHO)
    policies.own(first.key, second.sign(policies.handover(first.key)), WHO)
    with pytest.raises(SshSignatureError, match="does not fit"):
        policies.own(second.key, signature, WHO)


def test_old_policies_go(policies: Policies, tmp_path: Path) -> None:
    for _ in range(40):
        policies.change(with_alice, WHO)
        assert Policies(tmp_path, ME, SEED).rule() == policies.rule()
    kept = [path.suffix for path in (tmp_path / "policies").iterdir()]
    assert sorted(kept) == [".sig"] * 16 + [".toml"] * 16


def test_a_reader_looks_again_when_a_policy_went(
    policies: Policies, monkeypatch: pytest.MonkeyPatch
) -> None:
    policies.change(with_alice, WHO)
    real = Policies._load

    def late(*_: object) -> Rule:
        monkeypatch.setattr(Policies, "_load", real)
        policies.change(with_alice, WHO)
        raise PlatformError("gone")

    monkeypatch.setattr(Policies, "_load", late)
    assert Policies(policies.log.path.parent, ME, SEED).rule().policy.serial == 2


def test_the_last_serial_is_the_last(policies: Policies) -> None:
    policies.apply(encode_policy(Policy(serial=MAX_SERIAL)), "", WHO)
    with pytest.raises(Refused, match="was the last there is"):
        policies.change(with_alice, WHO)
    assert policies.rule().policy.serial == MAX_SERIAL


def test_a_policy_grows_no_larger_than_can_be_read(
    policies: Policies, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(policies_module, "MAX_SIZE", 1000)
    for _ in range(9):
        policies.change(with_alice, WHO)
    with pytest.raises(Refused, match="bytes; at most 1000 are read"):
        policies.change(with_alice, WHO)
    assert policies.rule().policy.serial == 9


def _attempts(
    policies: Policies, owner: Owner, thief: Owner, replayed: tuple[bytes, str]
) -> dict[str, Callable[[], object]]:
    """What somebody without the owner's key can try."""
    bob = Entry(mrsigner=b"\xbb" * 32)
    new = allow(policies.rule().policy, ListName.SIGNING, bob)
    mine = encode_policy(replace(new, platform=ME))
    elsewhere = encode_policy(replace(new, platform="softsgx-other"))
    nowhere = encode_policy(replace(new, platform=""))

    def hand_over(signature: str) -> None:
        policies.own(thief.key, signature, WHO)

    return {
        "allow": lambda: policies.change(lambda old: clear(old, ListName.SIGNING), WHO),
        "unsigned": lambda: policies.apply(mine, "", WHO),
        "thief's": lambda: policies.apply(mine, thief.sign(mine), WHO),
        "other's": lambda: policies.apply(mine, owner.sign(elsewhere), WHO),
        "elsewhere": lambda: policies.apply(elsewhere, owner.sign(elsewhere), WHO),
        "nowhere": lambda: policies.apply(nowhere, owner.sign(nowhere), WHO),
        "namespace": lambda: policies.apply(mine, owner.sign(mine, "file"), WHO),
        "replay": lambda: policies.apply(*replayed, WHO),
        "disown": lambda: hand_over(""),
        "own": lambda: hand_over(thief.sign(policies.handover(thief.key))),
        "own by policy": lambda: hand_over(replayed[1]),
        "lock": lambda: policies.lock(ALL_LISTS, WHO),
        "reset": lambda: policies.reset(WHO),
        "switch": lambda: policies.note_switch(on=True),
    }


TRIES = st.sampled_from(
    [
        *("allow", "unsigned", "thief's", "other's", "elsewhere", "nowhere"),
        *("namespace", "replay", "disown", "own", "own by policy"),
        *("lock", "reset", "switch"),
    ]
)


@settings(max_examples=12, deadline=None)
@given(st.lists(TRIES, min_size=1, max_size=8, unique=True))
def test_nothing_without_the_owners_signature_changes_the_policy(
    tries: list[str],
) -> None:
    owner, thief = Owner(), Owner()
    with tempfile.TemporaryDirectory() as place:
        policies = Policies(Path(place), ME, SEED)
        policies.begin()
        policies.own(owner.key, "", WHO)
        raw = encode_policy(replace(with_alice(Policy()), platform=ME))
        replayed = raw, owner.sign(raw)
        policies.apply(*replayed, WHO)
        before = policies.rule()
        for name in tries:
            attempt = _attempts(policies, owner, thief, replayed)[name]
            if name in ("lock", "reset", "switch"):
                attempt()
                continue
            with pytest.raises((Refused, SshSignatureError)):
                attempt()
        assert replace(policies.rule(), locks=frozenset()) == before
        policies.log.verify()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("state.json", "changed by another hand"),
        ("policies/*.toml", "changed by another hand"),
    ],
)
def test_what_another_hand_changed_does_not_hold(
    policies: Policies, tmp_path: Path, name: str, message: str
) -> None:
    policies.change(with_alice, WHO)
    (path,) = tmp_path.glob(name)
    path.write_bytes(path.read_bytes().replace(b"1", b"2"))
    fresh = Policies(tmp_path, ME, SEED)
    with pytest.raises(PlatformError, match=message):
        fresh.rule()


@pytest.mark.parametrize("name", ["state.json", "policies/*.toml"])
def test_what_is_missing_does_not_open_the_platform(
    policies: Policies, tmp_path: Path, name: str
) -> None:
    policies.change(with_alice, WHO)
    (path,) = tmp_path.glob(name)
    path.unlink()
    with pytest.raises(PlatformError, match=r"missing|No such file"):
        Policies(tmp_path, ME, SEED).rule()


KILLS = int(os.environ.get("POLICY_KILLS", "40"))

CHANGER = """
import sys
from pathlib import Path
from softsgx.launch.change import allow
from softsgx.launch.entry import Entry
from softsgx.launch.policy import ListName
from softsgx.launch.text import encode_policy
from softsgx.platform.audit import Who
from softsgx.platform.platform import Platform

platform = Platform.open(Path(sys.argv[1]))
policies = platform.policies()
who = Who(pid=1, uid=0, exe="", cgroup="")
entry = Entry(mrsigner=bytes(32))
print("ready", flush=True)
while True:
    platform = platform.switch(on=not platform.is_on)
    policies.change(lambda one: allow(one, ListName.SIGNING, entry), who)
    new = allow(policies.rule().policy, ListName.SIGNING, entry)
    policies.apply(encode_policy(new), "", who)
    policies.lock(frozenset({ListName.LAUNCH}), who)
    policies.reset(who)
"""


@pytest.mark.slow
def test_a_kill_leaves_the_old_policy_or_the_new_one(tmp_path: Path) -> None:
    place = tmp_path / "p"
    log = Platform.create(place).policies().log
    serial, switched = 0, set()
    for kill in range(KILLS):
        changer = subprocess.Popen(
            [sys.executable, "-c", CHANGER, str(place)], stdout=subprocess.PIPE
        )
        assert changer.stdout is not None
        changer.stdout.readline()
        time.sleep(kill * 37 % 101 / 1000)
        changer.send_signal(signal.SIGKILL)
        changer.wait()
        changer.stdout.close()
        platform = Platform.open(place)
        switched.add(platform.is_on)
        rule = platform.policies().rule()
        assert rule.policy.serial >= serial
        assert len(rule.policy.signing) == rule.policy.serial
        serial = rule.policy.serial
        log.verify()
    assert serial > 0
    assert switched == {True, False}
    # What a kill left under another name is no file of the platform's.
    assert {path.name for path in place.iterdir() if path.name[0] != "."} == {
        *("audit.head", "audit.jsonl", "lock", "platform.toml", "policies"),
        *("seed", "state.json"),
    }
