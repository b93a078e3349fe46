"""AES-GCM with a 128-bit key, a 12-byte IV and a 16-byte MAC (NIST SP 800-38D)."""

from functools import cache
from typing import TYPE_CHECKING

from softsgx.crypto.compare import MismatchError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAC_SIZE = 16
IV_SIZE = 12


def aes_gcm_encrypt(
    key: bytes, iv: bytes, header: bytes, plaintext: bytes | memoryview
) -> tuple[bytes, bytes]:
    """Return ciphertext and MAC; an IV must never come twice with one key."""
    sealed = _cipher(key).encrypt(iv, plaintext, header)
    return sealed[:-MAC_SIZE], sealed[-MAC_SIZE:]


def aes_gcm_decrypt(
    key: bytes, iv: bytes, header: bytes, ciphertext: bytes, mac: bytes
) -> bytes:
    """Return the plaintext; MismatchError unless *mac* is that of all the rest."""
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415 -- slow

    try:
        return _cipher(key).decrypt(iv, ciphertext + mac, header)
    except InvalidTag as error:
        raise MismatchError("MAC of the ciphertext") from error


@cache
def _cipher(key: bytes) -> "AESGCM":
    # The library takes as long to import as a short program runs: only when needed.
    from cryptography.hazmat.primitives.ciphers.aead import (  # noqa: PLC0415 -- slow
        AESGCM,
    )

    return AESGCM(key)
