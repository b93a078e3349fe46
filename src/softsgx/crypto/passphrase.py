"""Bytes that a passphrase locks: scrypt (RFC 7914) and AES-256-GCM."""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from softsgx.crypto.entropy import Entropy

_SALT, _NONCE, _TAG = 16, 12, 16
_COST, _BLOCK = 1 << 15, 8


class WrongPassphrase(Exception):  # noqa: N818 -- the user's trouble, not our defect
    """Another passphrase, or bytes that were changed: the two look alike."""


def lock(passphrase: str, plain: bytes, label: bytes, entropy: Entropy) -> bytes:
    """Encrypt; *label* says what for, and must be said again to unlock."""
    salt, nonce = entropy.random(_SALT), entropy.random(_NONCE)
    return salt + nonce + AESGCM(_key(passphrase, salt)).encrypt(nonce, plain, label)


def unlock(passphrase: str, locked: bytes, label: bytes) -> bytes:
    """Decrypt what `lock` made; WrongPassphrase."""
    if len(locked) < _SALT + _NONCE + _TAG:
        raise WrongPassphrase
    salt, nonce = locked[:_SALT], locked[_SALT : _SALT + _NONCE]
    key = AESGCM(_key(passphrase, salt))
    try:
        return key.decrypt(nonce, locked[_SALT + _NONCE :], label)
    except InvalidTag as error:
        raise WrongPassphrase from error


def _key(passphrase: str, salt: bytes) -> bytes:
    return Scrypt(salt, 32, _COST, _BLOCK, 1).derive(passphrase.encode())
