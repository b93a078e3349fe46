"""Two problems of guests: the way around the host's lists, and PROVISIONKEY."""

from pathlib import Path

import pytest

from tests.conformance.run import SOFTSGX, run
from tests.conformance_sgx.build import BUILT
from tests.conformance_sgx.guests import (
    KEYS,
    SIG,
    guest,
    keys,
    logged,
    new_platform,
    on,
    started,
    within,
)
from tests.crypto.signer import Owner

pytestmark = [pytest.mark.runner, pytest.mark.slow]
HEX = "ab" * 32


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return new_platform(tmp_path / "p", "--epc", "32M")


def owned(place: Path, folder: Path) -> Owner:
    """Give a platform an owner's key."""
    owner = Owner()
    (folder / "key").write_text(owner.key.line)
    on(place, "policy", "owner", folder / "key")
    return owner


def apply_signed(place: Path, owner: Owner, *words: str) -> None:
    """Change the policy as its owner does: print it, sign it, apply it."""
    file = place.parent / "signed.toml"
    file.write_text(on(place, "policy", *words, "--toml"))
    signature = file.with_suffix(".sig")
    signature.write_text(owner.sign(file.read_bytes()))
    on(place, "policy", "apply", file, "--signature", signature)


@pytest.fixture
def closed(place: Path) -> Path:
    """A platform on which our signer may not launch, and two guests."""
    started(place, "one")
    started(place, "plain", "--launch", "guest")
    on(place, "policy", "allow", "signing", HEX)
    return place


def test_a_signer_whom_the_host_refuses_is_refused_in_a_guest(closed: Path) -> None:
    assert within(closed, KEYS.binary(), name="").code != 0
    refused = within(closed, KEYS.binary())
    assert refused.code != 0
    assert "Operation not permitted" in refused.stderr
    said = [one for one in refused.stderr.splitlines() if one.startswith("softsgx: ")]
    assert len(said) == 1
    assert said[0].startswith("softsgx: guest one: an enclave of signer ")
    assert said[0].endswith("the signer is not listed")
    on(closed, "policy", "allow", "signing", SIG)
    assert within(closed, KEYS.binary()).code == 0
    inits = logged(closed, "--guest", "one", "--event", "init")
    assert [(one["verdict"], one["rule"]) for one in inits] == [
        ("deny", "signing"),
        ("allow", "signing[1]"),
    ]


def test_plain_kvm_is_the_way_around_the_hosts_lists(closed: Path) -> None:
    assert keys(closed, name="plain")["mrenclave"]
    assert logged(closed, "--guest", "plain", "--event", "init") == []


def test_a_fixed_launch_key_is_the_processors_word(place: Path) -> None:
    started(place, "one", "--lepubkeyhash", HEX)
    refused = within(place, KEYS.binary())
    assert refused.code != 0
    (init, einit) = logged(place, "--guest", "one", "--verdict", "allow") + logged(
        place, "--guest", "one", "--event", "einit"
    )
    assert init["event"] == "init"
    assert einit["reason"] == "SGX_INVALID_EINITTOKEN"


def test_with_an_owners_key_plain_kvm_needs_a_signature(
    closed: Path, tmp_path: Path
) -> None:
    owner = owned(closed, tmp_path)
    refused = within(closed, KEYS.binary(), name="plain")
    why = 'guest plain: the owner has not signed [guests.plain] launch = "guest"'
    assert (refused.code, refused.stderr) == (125, f"softsgx: {why}\n")
    words = [SOFTSGX, "guest", "new", "two", "--launch", "guest"]
    made = run([*words, "--epc", "4M", "--platform", str(closed)], BUILT)
    why = 'guest two: the owner has not signed [guests.two] launch = "guest"'
    assert (made.code, made.stderr) == (1, f"softsgx: {why}\n")
    apply_signed(closed, owner, "guest", "plain", "--launch", "guest")
    assert within(closed, KEYS.binary(), name="plain").code == 0


def test_provisionkey_is_for_guests_with_the_owners_leave(place: Path) -> None:
    started(place, "one", "--provisioning")
    started(place, "two")
    assert keys(place, "provision", name="")["provision"]
    for name in ("one", "two"):
        refused = within(place, KEYS.binary(), "provision", name=name)
        assert refused.code != 0
        assert "SGX_IOC_ENCLAVE_CREATE: Input/output error" in refused.stderr
    on(place, "policy", "guest", "one", "--provisioning", "yes")
    on(place, "policy", "guest", "two", "--provisioning", "yes")
    # The keys are the package's: who may have them is the host to all who ask.
    assert keys(place, "provision") == keys(place, "provision", name="")
    assert within(place, KEYS.binary(), "provision", name="two").code != 0
    on(place, "policy", "guest", "one", "--provisioning", "no")
    assert within(place, KEYS.binary(), "provision").code != 0


def test_with_an_owners_key_provisioning_needs_a_signature(
    place: Path, tmp_path: Path
) -> None:
    owner = owned(place, tmp_path)
    started(place, "one", "--provisioning")
    words = ("policy", "guest", "one", "--provisioning", "yes")
    refused = run([SOFTSGX, *words, "--platform", str(place)], BUILT)
    assert "the owner must sign for it" in refused.stderr
    assert within(place, KEYS.binary(), "provision").code != 0
    apply_signed(place, owner, *words[1:])
    assert keys(place, "provision")["provision"]
    assert "provisioning     yes" in guest(place, "show", "one")
