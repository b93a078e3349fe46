"""Keys that sign enclaves: RSA-3072 with exponent 3, PKCS#1 v1.5 with SHA-256."""

from typing import Self

from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

EXPONENT = 3
KEY_BITS = 3072
KEY_SIZE = KEY_BITS // 8


class SigningKeyError(ValueError):
    """A key that cannot sign an enclave; the message says why."""


class SigningKey:
    """A private key; numbers go in and out as 384 little-endian bytes."""

    def __init__(self, key: RSAPrivateKey) -> None:
        numbers = key.public_key().public_numbers()
        if key.key_size != KEY_BITS or numbers.e != EXPONENT:
            raise SigningKeyError(
                f"RSA-{key.key_size} with exponent {numbers.e}, not RSA-3072 with 3"
            )
        self._key = key
        self._n = numbers.n

    @classmethod
    def generate(cls) -> Self:
        """Make a new key; takes a second or so."""
        return cls(generate_private_key(public_exponent=EXPONENT, key_size=KEY_BITS))

    @classmethod
    def from_pem(cls, pem: bytes) -> Self:
        """Read an unencrypted PEM private key."""
        try:
            key = load_pem_private_key(pem, password=None)
        except TypeError as error:
            raise SigningKeyError("the key is encrypted") from error
        except ValueError as error:
            raise SigningKeyError("not a PEM private key") from error
        if not isinstance(key, RSAPrivateKey):
            raise SigningKeyError("not an RSA key")
        return cls(key)

    def to_pem(self) -> bytes:
        """Return the key as unencrypted PEM."""
        return self._key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )

    @property
    def modulus(self) -> bytes:
        """The modulus."""
        return self._n.to_bytes(KEY_SIZE, "little")

    def sign(self, message: bytes) -> bytes:
        """Return the signature of *message*."""
        return self._key.sign(message, PKCS1v15(), SHA256())[::-1]


def quotients(signature: bytes, modulus: bytes) -> tuple[bytes, bytes]:
    """Return Q1 and Q2, which let EINIT check the signature without dividing."""
    s, m = int.from_bytes(signature, "little"), int.from_bytes(modulus, "little")
    q1, rest = divmod(s * s, m)
    q2 = s * rest // m
    return q1.to_bytes(KEY_SIZE, "little"), q2.to_bytes(KEY_SIZE, "little")
