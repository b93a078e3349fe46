"""AES-GCM with a 128-bit key, a 12-byte IV and a 16-byte MAC (NIST SP 800-38D)."""

from functools import lru_cache
from typing import TYPE_CHECKING

from softsgx.crypto.compare import MismatchError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

IV_SIZE = 12


def aes_gcm_encrypt(
    key: bytes, iv: bytes, header: bytes, plaintext: bytes | memoryview
) -> bytes:
    """Return the ciphertext and, behind it, its MAC; an IV must never come twice."""
    return _cipher(key).encrypt(iv, plaintext, header)


def aes_gcm_decrypt(key: bytes, iv: bytes, header: bytes, sealed: bytes) -> bytes:
    """Return the plaintext; MismatchError unless the MAC is that of all the rest."""
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 -- slow

    try:
        return _cipher(key).decrypt(iv, sealed, header)
    except InvalidTag as error:
        raise MismatchError("MAC of the ciphertext") from error


@lru_cache(maxsize=8)
def _cipher(key: bytes) -> "AESGCM":
    # The library takes as long to import as a short program runs: only when needed.
    from cryptography.hazmat.primitives.ciphers.aead import (  # noqa: PLC0415 -- slow
        AESGCM,
    )

    return AESGCM(key)
