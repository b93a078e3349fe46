"""RSA-3072 with exponent 3: the signatures of enclaves.

Numbers are little-endian byte strings of 384 bytes, as SIGSTRUCT holds them.
SDM: "EINIT—Initialize an Enclave for Execution".
"""

# Verifying needs only numbers; the library is imported by whoever signs.
# ruff: noqa: PLC0415

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from softsgx.crypto.sha256 import sha256

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric import rsa

SIZE = 384
"""Bytes of modulus, signature, q1 and q2."""

EXPONENT = 3

_DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")


class SignatureError(ValueError):
    """The signature is not the key's over this message, or q1 or q2 is not its."""


class KeyFormError(ValueError):
    """Not an RSA key of 3072 bits with exponent 3."""


class Quotients(NamedTuple):
    """q1 and q2, with which a processor verifies without dividing."""

    q1: bytes
    q2: bytes


class SigningKey:
    """A private key that signs enclaves."""

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        numbers = key.public_key().public_numbers()
        if key.key_size != SIZE * 8 or numbers.e != EXPONENT:
            message = f"an RSA key of {key.key_size} bits with exponent {numbers.e}"
            raise KeyFormError(f"{message}; enclaves need 3072 and 3")
        self._key = key
        self.modulus = numbers.n.to_bytes(SIZE, "little")

    @classmethod
    def generate(cls) -> SigningKey:
        """Make a new key."""
        from cryptography.hazmat.primitives.asymmetric import rsa

        return cls(rsa.generate_private_key(EXPONENT, SIZE * 8))

    @classmethod
    def from_pem(cls, pem: bytes, password: bytes | None = None) -> SigningKey:
        """Read a key in PEM; KeyFormError if it is not one of ours."""
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import rsa

        key = serialization.load_pem_private_key(pem, password)
        if not isinstance(key, rsa.RSAPrivateKey):
            raise KeyFormError(f"a {type(key).__name__}; enclaves need an RSA key")
        return cls(key)

    def to_pem(self) -> bytes:
        """Return the key in PEM, not encrypted."""
        from cryptography.hazmat.primitives import serialization

        return self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    def sign(self, message: bytes) -> bytes:
        """Return the PKCS#1 v1.5 signature over SHA-256, little-endian."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import padding

        signature = self._key.sign(message, padding.PKCS1v15(), hashes.SHA256())
        return signature[::-1]


def quotients(modulus: bytes, signature: bytes) -> Quotients:
    """Compute q1 = S*S / M and q2 = (S*S*S - q1*S*M) / M, rounded down.

    SignatureError if the signature is not below the modulus.
    """
    m, s = _number(modulus), _number(signature)
    if s >= m:
        raise SignatureError("the signature is not below the modulus")
    q1, rest = divmod(s * s, m)
    q2 = s * rest // m
    return Quotients(q1.to_bytes(SIZE, "little"), q2.to_bytes(SIZE, "little"))


def check_signature(
    modulus: bytes, signature: bytes, given: Quotients, message: bytes
) -> None:
    """Raise SignatureError unless the signature verifies by the given q1 and q2.

    As a processor does: two subtractions that must each leave less than the modulus.
    """
    m, s = _number(modulus), _number(signature)
    if s >= m:
        raise SignatureError("the signature is not below the modulus")
    square = s * s - _number(given.q1) * m
    if not 0 <= square < m:
        raise SignatureError("q1 is not the signature's")
    cube = s * square - _number(given.q2) * m
    if not 0 <= cube < m:
        raise SignatureError("q2 is not the signature's")
    if cube.to_bytes(SIZE, "big") != _encoded(message):
        raise SignatureError("the signature is not over this message")


def _encoded(message: bytes) -> bytes:
    """EMSA-PKCS1-v1_5 of SHA-256 of the message, 384 bytes."""
    tail = b"\x00" + _DIGEST_INFO + sha256(message)
    return b"\x00\x01" + tail.rjust(SIZE - 2, b"\xff")


def _number(raw: bytes) -> int:
    return int.from_bytes(raw, "little")
