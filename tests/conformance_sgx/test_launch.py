"""Our launch enclave: whose tokens count, for whom, and what EINIT says of others."""

import ctypes
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from softsgx.arch.einittoken import VALID
from softsgx.arch.errors import SgxError
from softsgx.arch.secs import AttributeFlags, Attributes
from softsgx.arch.sigstruct import Sigstruct
from softsgx.crypto.cmac import aes_cmac
from softsgx.crypto.sha256 import sha256
from tests.conformance.here import softsgx
from tests.conformance.run import SOFTSGX, run
from tests.conformance_sgx.launching import (
    LAUNCH,
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
from tests.house.tree import ROOT

pytestmark = [pytest.mark.runner, pytest.mark.slow]
AUDIT = [SOFTSGX, "audit", "tail", "-n", "2", "--json", "--platform"]
NOT_PERMITTED = "Operation not permitted"


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Launcher:
    place = tmp_path_factory.mktemp("ours")
    folder = built(place / "le")
    return Launcher(folder, new_platform(place / "platform", folder))


@pytest.mark.parametrize("mode", [(), ("--exact",)], ids=["normal", "exact"])
def test_an_enclave_launches_with_a_token_and_only_so(
    ours: Launcher, mode: tuple[str, ...]
) -> None:
    refused = ours.start(b"", mode)
    assert refused.code == 1
    assert refused.stderr.endswith(f"{NOT_PERMITTED}\n")
    token = ours.get(SIG, options=mode)
    launched = ours.start(bytes(token), mode)
    assert (launched.stdout, launched.stderr) == ("launched\n", "")


def test_a_token_says_whom_it_is_for_and_who_made_it(ours: Launcher) -> None:
    sigstruct = Sigstruct.from_bytes(SIG.read_bytes())
    first, second = ours.get(SIG), ours.get(SIG)
    assert first.valid == VALID
    assert first.mrenclave == sigstruct.enclavehash
    assert first.mrsigner == sha256(sigstruct.modulus)
    assert first.attributes == sigstruct.attributes
    made_by = AttributeFlags.INIT | AttributeFlags.MODE64BIT
    assert first.maskedattributesle == Attributes(
        flags=made_by | AttributeFlags.EINITTOKENKEY, xfrm=0
    )
    assert first.keyid != second.keyid
    assert first.mac != second.mac
    assert replace(first, keyid=second.keyid, mac=second.mac) == second


def test_a_launch_enclave_of_an_unlisted_signer_is_refused(
    ours: Launcher, tmp_path: Path
) -> None:
    other = Launcher(built(tmp_path / "other"), ours.platform)
    refused = other.ask("get", SIG)
    assert (refused.code, refused.stdout) == (1, "")
    assert "may not have EINITTOKENKEY: the signer is not listed" in refused.stderr
    assert refused.stderr.endswith("Permission denied\n")


def test_a_token_of_an_unlisted_launch_enclave_does_not_count(
    ours: Launcher, tmp_path: Path
) -> None:
    folder = built(tmp_path / "other")
    place = shutil.copytree(ours.platform, tmp_path / "platform")
    sig = folder / "enclave.sig"
    softsgx("policy", "allow", "launch", sig, "--platform", place)
    token = bytes(Launcher(folder, place).get(SIG))
    assert Launcher(folder, place).start(token).code == 0
    refused = ours.start(token, ("--trace",))
    assert refused.code == 1
    assert "SGX_INVALID_EINITTOKEN" in refused.stderr


@pytest.mark.parametrize(
    ("make", "code"),
    WRONG,
)
def test_a_wrong_token_is_refused_as_the_manual_says(
    ours: Launcher, make: Maker, code: SgxError
) -> None:
    refused = ours.start(bytes(make(ours)), ("--trace",))
    assert refused.code == 1
    init = [line for line in refused.stderr.splitlines() if "INIT_TOKEN" in line]
    assert len(init) == 1
    assert f"-1 EPERM (EPERM: EINIT: SGX_{code.name} ({NOT_PERMITTED}))" in init[0]
    assert f"EINIT refuses an enclave of signer {signer()}" in refused.stderr
    logged = run([*AUDIT, str(ours.platform)], ROOT).stdout.splitlines()
    records = [json.loads(line) for line in logged]
    decided = [(one["event"], one["verdict"], one["rule"]) for one in records]
    assert decided == [("init", "allow", "launch"), ("einit", "deny", "EINIT")]
    assert records[1]["reason"] == f"SGX_{code.name}"
    assert records[1]["mrsigner"] == signer()


def test_a_newer_list_ends_the_older_one_and_its_tokens(
    ours: Launcher, tmp_path: Path
) -> None:
    key = ours.folder / "key.pem"
    newer = built(tmp_path / "newer", "SIGNFLAGS=--isvsvn 2", f"KEY={key}")
    place = tmp_path / "platform"
    old = replace(ours, platform=shutil.copytree(ours.platform, place))
    new = replace(old, folder=newer)
    token = bytes(old.get(SIG))
    sig = newer / "enclave.sig"
    softsgx("policy", "remove", "launch", sig, "--platform", place)
    at_least = ("--min-isvsvn", "2", "--platform", place)
    softsgx("policy", "allow", "launch", sig, *at_least)
    assert new.start(bytes(new.get(SIG))).code == 0
    refused = new.start(token)
    assert "no listed launch enclave's tokens like this one count" in refused.stderr
    assert refused.stderr.endswith(f"{NOT_PERMITTED}\n")
    assert "ISVSVN is 0, below 2" in old.ask("get", SIG).stderr


def test_a_token_that_is_not_valid_is_none(ours: Launcher) -> None:
    refused = ours.start(bytes(replace(ours.get(SIG), valid=0)))
    assert refused.code == 1
    assert "a token of a listed launch enclave is needed" in refused.stderr
    assert refused.stderr.endswith(f"{NOT_PERMITTED}\n")


PROVISION = int(AttributeFlags.MODE64BIT | AttributeFlags.PROVISIONKEY)
ANOTHER_LAUNCH = int(AttributeFlags.MODE64BIT | AttributeFlags.EINITTOKENKEY)


@pytest.mark.parametrize(
    ("modulus", "attributes", "reason"),
    [
        (b"\xee" * 384, 4, "the launch enclave does not list its signer"),
        (None, PROVISION, "its signer may not have PROVISIONKEY"),
        (None, ANOTHER_LAUNCH, "no token is made for a launch enclave"),
        (PROVIDER, ANOTHER_LAUNCH, "no token is made for a launch enclave"),
    ],
)
def test_the_enclave_refuses_whom_its_list_does_not_have(
    ours: Launcher, modulus: bytes | None, attributes: int, reason: str
) -> None:
    sig = edited(ours, modulus=modulus) if modulus else SIG
    refused = ours.ask("get", sig, hex(attributes), "3")
    assert (refused.code, refused.stdout) == (1, "")
    assert refused.stderr == f"launch: {sig}: no token: {reason}\n"


def test_provisionkey_is_for_whom_the_list_says(ours: Launcher) -> None:
    token = ours.get(edited(ours, modulus=PROVIDER), hex(PROVISION), "3")
    assert int(token.attributes.flags) == PROVISION
    assert token.mrsigner == sha256(PROVIDER)


def test_without_einittokenkey_it_has_no_launch_key(
    ours: Launcher, tmp_path: Path
) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    for name in ("launch", "enclave.elf"):
        shutil.copy(ours.folder / name, folder)
    key, out = ours.folder / "key.pem", folder / "enclave.sig"
    softsgx("sign", folder / "enclave.elf", "--key", key, "--out", out)
    done = run([SOFTSGX, "run", "--", str(folder / "launch"), "get", str(SIG)], folder)
    assert done.code == 1
    assert "EGETKEY gives no launch key" in done.stderr


@pytest.mark.parametrize("blocks", [1, 2, 4, 12])
def test_its_mac_is_aes_cmac(tmp_path: Path, blocks: int) -> None:
    library = tmp_path / "cmac.so"
    compiler = ["gcc", "-std=c11", "-O2", "-shared", "-fPIC", "-o", str(library)]
    assert run([*compiler, str(LAUNCH / "cmac.c")], tmp_path).code == 0
    own = ctypes.CDLL(str(library)).cmac
    for round_number in range(20):
        key = sha256(bytes([round_number]))[:16]
        data = b"".join(sha256(key + bytes([n])) for n in range(6))[: 16 * blocks]
        mac = ctypes.create_string_buffer(16)
        own(key, data, ctypes.c_size_t(blocks), mac)
        assert mac.raw == aes_cmac(key, data)


@pytest.mark.parametrize(
    "line", ["ab", "g" * 64, "ab" * 33, f"{'ab' * 32} all", f"{'ab' * 32} provision x"]
)
def test_a_wrong_line_in_the_list_is_named(tmp_path: Path, line: str) -> None:
    signers = tmp_path / "signers.txt"
    signers.write_text(f"{'cd' * 32}\n{line}\n")
    done = run(["awk", "-f", str(LAUNCH / "signers.awk"), str(signers)], tmp_path)
    assert done.code != 0
    assert f"{signers}:2: not an MRSIGNER" in done.stderr
