import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from softsgx.arch.sigstruct import Sigstruct
from softsgx.cli.failure import Failure
from softsgx.cli.sign import command
from softsgx.crypto.sha256 import sha256
from tests.formats.test_elf import TCS, TEXT, elf


def sign(*arguments: object) -> Result:
    runner = CliRunner()
    return runner.invoke(command, [str(a) for a in arguments], standalone_mode=False)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "key.pem"
    assert sign("--new-key", path).exception is None
    return path


@pytest.fixture
def enclave(tmp_path: Path) -> Path:
    path = tmp_path / "enclave.elf"
    path.write_bytes(elf(TCS, TEXT))
    return path


def test_a_new_key_is_its_makers_only(key: Path) -> None:
    assert key.stat().st_mode & 0o777 == 0o600


def test_a_key_is_never_overwritten(key: Path) -> None:
    before = key.read_bytes()
    assert "never overwritten" in str(sign("--new-key", key).exception)
    assert key.read_bytes() == before


def test_the_sigstruct_is_what_was_asked_for(enclave: Path, key: Path) -> None:
    out = enclave.with_suffix(".sig")
    result = sign(
        enclave,
        "--key",
        key,
        "--out",
        out,
        "--isvsvn",
        5,
        "--isvprodid",
        9,
        "--date",
        "2024-02-29",
        "--debug",
        "--launch",
        "--json",
    )  # fmt: skip -- options and values side by side
    shown = json.loads(result.output)
    sigstruct = Sigstruct.from_bytes(out.read_bytes())
    assert (sigstruct.isvsvn, sigstruct.isvprodid) == (5, 9)
    assert sigstruct.date == 0x20240229
    assert shown["date"] == "20240229"
    assert shown["attributes"] == 0x26
    assert shown["mrenclave"] == sigstruct.enclavehash.hex()
    assert shown["mrsigner"] == sha256(sigstruct.modulus).hex()


def test_the_identities_are_printed(enclave: Path, key: Path) -> None:
    result = sign(enclave, "--key", key, "--out", enclave.with_suffix(".sig"))
    assert [line.split()[0] for line in result.output.splitlines()] == [
        "MRENCLAVE",
        "MRSIGNER",
    ]


def test_signing_twice_gives_the_same_bytes(enclave: Path, key: Path) -> None:
    one, two = enclave.with_name("1.sig"), enclave.with_name("2.sig")
    for out in (one, two):
        sign(enclave, "--key", key, "--out", out, "--date", "2024-01-01")
    assert one.read_bytes() == two.read_bytes()


def test_a_file_that_is_no_enclave_is_named(tmp_path: Path, key: Path) -> None:
    path = tmp_path / "no.elf"
    path.write_bytes(b"#!/bin/sh\n")
    error = sign(path, "--key", key, "--out", tmp_path / "x").exception
    assert isinstance(error, Failure)
    assert str(error).startswith(f"{path}: not a 64-bit")
    assert not (tmp_path / "x").exists()


def test_a_key_that_cannot_sign_is_named(enclave: Path, tmp_path: Path) -> None:
    path = tmp_path / "k.pem"
    ec_key = ec.generate_private_key(ec.SECP256R1())
    locked = BestAvailableEncryption(b"secret")
    for raw, message in (
        (b"nothing", "not a private key in PEM"),
        (
            ec_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
            "enclaves need an RSA key",
        ),
        (
            ec_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, locked),
            "the key is encrypted",
        ),
    ):
        path.write_bytes(raw)
        error = sign(enclave, "--key", path, "--out", tmp_path / "x").exception
        assert isinstance(error, Failure)
        assert message in str(error)
