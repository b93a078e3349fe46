"""Launch under locked launch control: /dev/isgx, a launch enclave, and its tokens."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from softsgx.arch.errors import SgxError
from softsgx.arch.secs import AttributeFlags
from tests.conformance.here import softsgx
from tests.conformance_sgx.launching import (
    PROVIDER,
    SIG,
    WRONG,
    Launcher,
    Maker,
    built,
    edited,
    new_platform,
    signer,
)

pytestmark = [pytest.mark.runner, pytest.mark.slow]
MODE = pytest.mark.parametrize("mode", [(), ("--exact",)], ids=["normal", "exact"])
HEX = "ab" * 32


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Launcher:
    place = tmp_path_factory.mktemp("locked")
    folder = built(place / "le")
    platform = new_platform(place / "platform", folder, locked=True)
    return Launcher(folder, platform, locked=True)


def events(platform: Path, count: int = 2) -> list[dict[str, str]]:
    """What the audit log says last of INITs."""
    told = softsgx("audit", "tail", "--json", "--platform", platform)
    records = [json.loads(line) for line in told.splitlines()]
    return [one for one in records if one["event"] in {"init", "einit"}][-count:]


def copied(ours: Launcher, place: Path) -> Launcher:
    return replace(ours, platform=shutil.copytree(ours.platform, place / "platform"))


@MODE
def test_an_enclave_launches_with_a_token_and_only_so(
    ours: Launcher, mode: tuple[str, ...]
) -> None:
    refused = ours.start(b"", mode)
    assert refused.code == 1
    assert refused.stderr.endswith(f"SGX error {SgxError.INVALID_EINITTOKEN:d}\n")
    token = ours.get(SIG, options=mode)
    launched = ours.start(bytes(token), mode)
    assert (launched.stdout, launched.stderr) == ("launched\n", "")


@pytest.mark.parametrize(("make", "code"), WRONG)
def test_a_wrong_token_is_refused_as_the_manual_says(
    ours: Launcher, make: Maker, code: SgxError
) -> None:
    refused = ours.start(bytes(make(ours)))
    assert refused.code == 1
    assert refused.stderr.endswith(f"SGX error {int(code)}\n")
    assert f"EINIT refuses an enclave of signer {signer()}" in refused.stderr
    decided, said = events(ours.platform)
    assert (decided["verdict"], decided["rule"]) == ("allow", "default")
    assert (said["verdict"], said["reason"]) == ("deny", f"SGX_{code.name}")


def test_another_launch_enclave_has_no_launch_key(
    ours: Launcher, tmp_path: Path
) -> None:
    """The processor, not a list, says whose launch enclaves count."""
    other = replace(ours, folder=built(tmp_path / "other"))
    refused = other.ask("get", SIG)
    assert refused.code == 1
    assert refused.stderr.endswith(f"SGX error {SgxError.INVALID_ATTRIBUTE:d}\n")


def test_on_intels_processor_ours_does_not_count(
    ours: Launcher, tmp_path: Path
) -> None:
    softsgx("platform", "new", tmp_path / "p", "--cpu", "skylake-client")
    softsgx("platform", "enable", tmp_path / "p")
    refused = replace(ours, platform=tmp_path / "p").ask("get", SIG)
    assert refused.code == 1
    assert refused.stderr.endswith(f"SGX error {SgxError.INVALID_ATTRIBUTE:d}\n")


@pytest.mark.parametrize(
    ("name", "reason", "denied"),
    [
        ("signing", "may not launch enclaves here", "Operation not permitted\n"),
        ("launch", "no listed launch enclave's tokens", "Operation not permitted\n"),
    ],
)
def test_the_owners_lists_bind_there_too(
    ours: Launcher, tmp_path: Path, name: str, reason: str, denied: str
) -> None:
    """A token, and listed: the two factors."""
    token = bytes(ours.get(SIG))
    owned = copied(ours, tmp_path)
    place = ("--platform", owned.platform)
    expired = ("--expires", "2001-01-01") if name == "launch" else ()
    softsgx("policy", "allow", name, HEX, *expired, *place)
    refused = owned.start(token)
    assert reason in refused.stderr
    assert refused.stderr.endswith(denied)
    assert [one["verdict"] for one in events(owned.platform, 1)] == ["deny"]
    listed = SIG if name == "signing" else ours.folder / "enclave.sig"
    softsgx("policy", "allow", name, listed, *place)
    assert owned.start(token).code == 0
    # and EINIT still wants the token
    assert owned.start(b"").code == 1


def test_an_unlisted_launch_enclave_is_refused(ours: Launcher, tmp_path: Path) -> None:
    owned = copied(ours, tmp_path)
    softsgx("policy", "allow", "launch", HEX, "--platform", owned.platform)
    refused = owned.ask("get", SIG)
    assert "may not have EINITTOKENKEY: the signer is not listed" in refused.stderr
    assert refused.stderr.endswith("Permission denied\n")


def test_provisionkey_is_the_launch_enclaves_gift(ours: Launcher) -> None:
    wanted = int(AttributeFlags.MODE64BIT | AttributeFlags.PROVISIONKEY)
    token = ours.get(edited(ours, modulus=PROVIDER), hex(wanted), "3")
    assert int(token.attributes.flags) == wanted
    refused = ours.ask("get", SIG, hex(wanted), "3")
    assert "its signer may not have PROVISIONKEY" in refused.stderr
