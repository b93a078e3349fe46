"""Signatures by `ssh-keygen -Y sign`, and by FIDO keys made here."""

import base64
import tomllib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from softsgx.crypto.sshsig import SshKey, SshKeyError, SshSignatureError
from tests.crypto.signer import FIDO_KINDS, Owner, armored

NAMESPACE, MESSAGE = "test@softsgx", b"policy text"
VECTORS = tomllib.loads(
    (Path(__file__).parents[1] / "vectors" / "sshsig.toml").read_text()
)["signature"]
KINDS = [vector["key"].split()[0] + str(len(vector["key"])) for vector in VECTORS]


def dearmored(signature: str) -> bytes:
    return base64.b64decode("".join(signature.split("\n")[1:-2]))


@pytest.mark.parametrize("vector", VECTORS, ids=KINDS)
def test_what_ssh_keygen_signed(vector: dict[str, str]) -> None:
    key = SshKey.parse(vector["key"] + " a comment\n")
    key.check_signature(vector["signature"], NAMESPACE, MESSAGE)
    with pytest.raises(SshSignatureError, match="does not fit"):
        key.check_signature(vector["signature"], NAMESPACE, MESSAGE + b"!")
    with pytest.raises(SshSignatureError, match="not for the namespace other"):
        key.check_signature(vector["signature"], "other", MESSAGE)


def test_another_keys_signature() -> None:
    first, second = VECTORS[:2]
    with pytest.raises(SshSignatureError, match="another key made it"):
        SshKey.parse(first["key"]).check_signature(
            second["signature"], NAMESPACE, MESSAGE
        )


@pytest.mark.parametrize("vector", VECTORS, ids=KINDS)
@given(data=st.data())
def test_no_changed_byte_passes(vector: dict[str, str], data: st.DataObject) -> None:
    body = bytearray(dearmored(vector["signature"]))
    at = data.draw(st.integers(0, len(body) - 1))
    body[at] ^= data.draw(st.integers(1, 255))
    with pytest.raises(SshSignatureError):
        SshKey.parse(vector["key"]).check_signature(
            armored(bytes(body)), NAMESPACE, MESSAGE
        )


@pytest.mark.parametrize("vector", VECTORS, ids=KINDS)
@given(size=st.integers(0, 200), tail=st.binary(max_size=8))
def test_nothing_cut_or_longer_passes(
    vector: dict[str, str], size: int, tail: bytes
) -> None:
    body = dearmored(vector["signature"])
    wrong = body[:size] if size < len(body) and not tail else body + (tail or b"\0")
    with pytest.raises(SshSignatureError):
        SshKey.parse(vector["key"]).check_signature(armored(wrong), NAMESPACE, MESSAGE)


@pytest.mark.parametrize("text", ["", "no signature", "-----BEGIN SSH SIGNATURE-----"])
def test_what_is_no_signature_at_all(text: str) -> None:
    with pytest.raises(SshSignatureError, match="not an armored"):
        SshKey.parse(VECTORS[0]["key"]).check_signature(text, NAMESPACE, MESSAGE)


@pytest.mark.parametrize("kind", FIDO_KINDS)
def test_fido_keys(kind: str) -> None:
    fido = Owner(kind)

    def check(signature: str, message: bytes = MESSAGE) -> None:
        fido.key.check_signature(signature, NAMESPACE, message)

    signature = fido.sign(MESSAGE, NAMESPACE)
    check(signature)
    with pytest.raises(SshSignatureError, match="does not fit"):
        check(signature, b"other")
    with pytest.raises(SshSignatureError, match="does not fit"):
        check(fido.sign(MESSAGE, NAMESPACE, application=b"x"))
    with pytest.raises(SshSignatureError, match="nobody touched the key"):
        check(fido.sign(MESSAGE, NAMESPACE, flags=0))


def test_keys_that_cannot_own_a_platform() -> None:
    small = rsa.generate_private_key(65537, 1024).public_key()  # noqa: S505
    line = small.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    with pytest.raises(SshKeyError, match="an RSA key needs 2048 bits"):
        SshKey.parse(line)
    for text in ("", "ssh-ed25519", "ssh-ed25519 AAAA", "ssh-dss AAAAB3NzaC1kc3M="):
        with pytest.raises(SshKeyError, match="not a"):
            SshKey.parse(text)


def test_a_private_key_is_not_needed() -> None:
    with pytest.raises(SshKeyError, match="the public one is needed"):
        SshKey.parse("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk=\n")


def test_a_fingerprint_is_ssh_keygens() -> None:
    key = SshKey.parse(VECTORS[0]["key"])
    assert key.fingerprint.startswith("SHA256:")
    assert len(key.fingerprint) == len("SHA256:") + 43
