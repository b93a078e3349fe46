import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from softsgx.crypto.signer import SigningKey, SigningKeyError

PLAIN = NoEncryption()


def pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, PLAIN)


def test_a_key_survives_its_pem() -> None:
    key = SigningKey.generate()
    again = SigningKey.from_pem(key.to_pem())
    assert again.modulus == key.modulus
    assert again.sign(b"x") == key.sign(b"x")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"no key", "not a PEM"),
        (pem(ec.generate_private_key(ec.SECP256R1())), "not an RSA key"),
        (pem(rsa.generate_private_key(65537, 2048)), "RSA-2048 with exponent 65537"),
    ],
)
def test_a_key_that_cannot_sign_is_refused(raw: bytes, message: str) -> None:
    with pytest.raises(SigningKeyError, match=message):
        SigningKey.from_pem(raw)


def test_an_encrypted_key_is_said_to_be_so() -> None:
    key = rsa.generate_private_key(3, 3072)
    locked = key.private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret")
    )
    with pytest.raises(SigningKeyError, match="encrypted"):
        SigningKey.from_pem(locked)
