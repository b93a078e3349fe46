"""The owner's policy under programs that run: refused, listed, watched, raced."""

import json
from collections import Counter
from pathlib import Path

import pytest

from softsgx.crypto.sha256 import sha256
from tests.conformance.run import SOFTSGX, Outcome, run
from tests.conformance_sgx.build import BUILT, HERE, Program

pytestmark = [pytest.mark.runner, pytest.mark.slow]
KEYS = Program("report_key", "dynamic")
RACE = Program("sigstruct_race", "dynamic", HERE / "policy")
SIG, ELF = BUILT / "enclave" / "3.sig", BUILT / "enclave" / "3.elf"
HEX = "ab" * 32
ROUNDS = 40


def softsgx(*words: str | Path) -> str:
    done = run([SOFTSGX, *map(str, words)], BUILT)
    assert done.code == 0, done.stderr
    return done.stdout


@pytest.fixture
def place(tmp_path: Path) -> Path:
    KEYS.binary()
    softsgx("platform", "new", tmp_path / "p")
    softsgx("platform", "enable", tmp_path / "p")
    return tmp_path / "p"


def policy(place: Path, *words: str | Path) -> str:
    return softsgx("policy", *words, "--platform", place)


def launch(place: Path) -> Outcome:
    command = [SOFTSGX, "run", "--platform", str(place), "--", str(KEYS.binary())]
    return run(command, BUILT)


def inits(place: Path) -> list[dict[str, object]]:
    told = softsgx("audit", "tail", "-n", "10000", "--json", "--platform", place)
    records = [json.loads(line) for line in told.splitlines()]
    return [record for record in records if record["event"] == "init"]


def test_an_unlisted_signer_is_refused_until_it_is_listed(place: Path) -> None:
    assert launch(place).code == 0
    policy(place, "allow", "signing", HEX)
    refused = launch(place)
    assert refused.code != 0
    assert "Operation not permitted" in refused.stderr
    said = [one for one in refused.stderr.splitlines() if one.startswith("softsgx: ")]
    assert len(said) == 1
    assert said[0].endswith("may not launch enclaves here: the signer is not listed")
    policy(place, "allow", "signing", SIG)
    assert launch(place).code == 0
    verdicts = [(one["verdict"], one["rule"]) for one in inits(place)]
    assert verdicts == [
        ("allow", "default"),
        ("deny", "signing"),
        ("allow", "signing[1]"),
    ]
    assert "all in place" in softsgx("audit", "verify", "--platform", place)


def test_what_is_only_watched_passes(place: Path, tmp_path: Path) -> None:
    policy(place, "allow", "signing", HEX)
    file = tmp_path / "policy.toml"
    text = policy(place, "show", "--toml").replace('"enforce"', '"audit"', 1)
    file.write_text(text)
    policy(place, "apply", file)
    assert launch(place).code == 0
    (record,) = inits(place)
    assert (record["verdict"], record["rule"]) == ("waived", "signing")


def test_a_policy_that_another_hand_changed_stops_every_launch(place: Path) -> None:
    policy(place, "allow", "signing", SIG)
    state = place / "state.json"
    state.write_text(state.read_text().replace('"locks": []', '"locks":  []'))
    assert launch(place).code == 0  # the same words are the same state
    state.write_text(state.read_text().replace('"digest": "', '"digest": "0'))
    refused = launch(place)
    assert refused.code != 0
    assert "changed by another hand" in refused.stderr


def test_a_program_that_races_its_sigstruct_gets_no_other_verdict(
    place: Path, tmp_path: Path
) -> None:
    key, other = tmp_path / "key.pem", tmp_path / "other.sig"
    softsgx("sign", "--new-key", key)
    softsgx("sign", ELF, "--key", key, "--out", other)
    policy(place, "allow", "signing", SIG)
    binary = str(RACE.binary())
    command = [SOFTSGX, "run", "--platform", str(place), "--", binary]
    done = run([*command, str(SIG), str(other), str(ROUNDS)], BUILT)
    assert done.code == 0, done.stderr
    said = done.stdout.splitlines()
    assert len(said) == ROUNDS
    ours, theirs = (sha256(path.read_bytes()[128:512]).hex() for path in (SIG, other))
    # 1 is EPERM: refused, or torn and no signature of anybody's
    assert set(said) <= {"1", f"0 {ours}"}
    judged = Counter((one["mrsigner"], one["verdict"]) for one in inits(place))
    assert judged[theirs, "allow"] == judged[ours, "deny"] == 0
    assert sum(judged.values()) == ROUNDS
    assert said.count(f"0 {ours}") <= judged[ours, "allow"]
