"""Signatures made with `ssh-keygen -Y sign`, and the keys that make them.

OpenSSH: PROTOCOL.sshsig, PROTOCOL.u2f.  Keys: ed25519, ecdsa, rsa, and the FIDO kinds
of the first two (sk-).
"""

# Few programs need the library; it is imported by whoever has an owner's key.
# ruff: noqa: PLC0415

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.serialization.ssh import SSHPublicKeyTypes

_MAGIC = b"SSHSIG"
_VERSION = 1
_HASHES = ("sha256", "sha512")
_BEGIN, _END = "-----BEGIN SSH SIGNATURE-----", "-----END SSH SIGNATURE-----"
_FIDO = ("sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com")
_ECDSA = {
    "ecdsa-sha2-nistp256": "SHA256",
    "ecdsa-sha2-nistp384": "SHA384",
    "ecdsa-sha2-nistp521": "SHA512",
    "sk-ecdsa-sha2-nistp256@openssh.com": "SHA256",
}
_RSA = {"rsa-sha2-256": "SHA256", "rsa-sha2-512": "SHA512"}
_MIN_RSA_BITS = 2048
_USER_PRESENT = 1
"""FIDO flag: somebody touched the key."""


class SshKeyError(ValueError):
    """Not a public key that can own a platform."""


class SshSignatureError(ValueError):
    """Not a signature by that key over that message."""


class _Wire:
    """Reads the strings and numbers that SSH's structures are made of."""

    def __init__(self, data: bytes):
        self._data = data

    def number(self) -> int:
        return int.from_bytes(self.bytes(4), "big")

    def string(self) -> bytes:
        return self.bytes(self.number())

    def bytes(self, size: int) -> bytes:
        if size > len(self._data):
            raise SshSignatureError("it is cut short")
        taken, self._data = self._data[:size], self._data[size:]
        return taken

    def end(self) -> None:
        if self._data:
            raise SshSignatureError("something follows its end")


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


@dataclass(frozen=True)
class SshKey:
    """An OpenSSH public key; *line* is it as in a .pub file, without the comment."""

    line: str

    @classmethod
    def parse(cls, text: str) -> SshKey:
        """Read the line of a .pub file; SshKeyError for what cannot be used."""
        words = text.split()
        if text.lstrip().startswith("-----BEGIN"):
            raise SshKeyError("a private key; the public one is needed (.pub)")
        if len(words) < 2:
            raise SshKeyError("not an OpenSSH public key")
        key = cls(" ".join(words[:2]))
        try:
            loaded = key._load()
        except Exception as error:
            raise SshKeyError(f"not a key that can be used: {words[0]}") from error
        if getattr(loaded, "key_size", _MIN_RSA_BITS) < _MIN_RSA_BITS and (
            key.kind == "ssh-rsa"
        ):
            raise SshKeyError(f"an RSA key needs {_MIN_RSA_BITS} bits")
        if key.kind not in (*_FIDO, *_ECDSA, "ssh-ed25519", "ssh-rsa"):
            raise SshKeyError(f"keys of the kind {key.kind} are not taken")
        return key

    @property
    def kind(self) -> str:
        """The key's kind, such as ssh-ed25519."""
        return self.line.split()[0]

    @property
    def blob(self) -> bytes:
        """The key as SSH sends it."""
        return base64.b64decode(self.line.split()[1], validate=True)

    @property
    def fingerprint(self) -> str:
        """The key's name as `ssh-keygen -l` prints it."""
        digest = base64.b64encode(hashlib.sha256(self.blob).digest())
        return "SHA256:" + digest.decode().rstrip("=")

    def _load(self) -> SSHPublicKeyTypes:
        from cryptography.hazmat.primitives.serialization import load_ssh_public_key

        return load_ssh_public_key(self.line.encode())

    @property
    def _application(self) -> bytes:
        """What a FIDO key was made for: the last string of its blob."""
        wire = _Wire(self.blob)
        strings = [wire.string() for _ in range(4 if "ecdsa" in self.kind else 3)]
        return strings[-1]

    def check_signature(self, armored: str, namespace: str, message: bytes) -> None:
        """Raise SshSignatureError unless this key signed *message* for *namespace*."""
        wire = _Wire(_dearmored(armored))
        if wire.bytes(len(_MAGIC)) != _MAGIC or wire.number() != _VERSION:
            raise SshSignatureError("not an SSH signature of version 1")
        if wire.string() != self.blob:
            raise SshSignatureError("another key made it")
        if wire.string() != namespace.encode():
            raise SshSignatureError(f"it is not for the namespace {namespace}")
        reserved, algorithm = wire.string(), wire.string()
        signature = wire.string()
        wire.end()
        if algorithm.decode("ascii", "replace") not in _HASHES:
            raise SshSignatureError("its hash is none that is taken")
        digest = hashlib.new(algorithm.decode(), message).digest()
        signed = _MAGIC + b"".join(
            map(_string, (namespace.encode(), reserved, algorithm, digest))
        )
        self._check(_Wire(signature), signed)

    def _check(self, wire: _Wire, signed: bytes) -> None:
        """Check the inner signature, whose form depends on the key's kind."""
        from cryptography.exceptions import InvalidSignature

        kind, raw = wire.string().decode("ascii", "replace"), wire.string()
        if self.kind in _FIDO:
            flags, counter = wire.bytes(1), wire.bytes(4)
            if not flags[0] & _USER_PRESENT:
                raise SshSignatureError("nobody touched the key")
            hashed = [
                hashlib.sha256(part).digest() for part in (self._application, signed)
            ]
            signed = hashed[0] + flags + counter + hashed[1]
        wire.end()
        if kind != self.kind and not (self.kind == "ssh-rsa" and kind in _RSA):
            raise SshSignatureError(f"a signature of the kind {kind} is not taken")
        try:
            self._verify(kind, raw, signed)
        except InvalidSignature as error:
            raise SshSignatureError("it does not fit what was signed") from error

    def _verify(self, kind: str, raw: bytes, signed: bytes) -> None:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
        from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

        key = self._load()
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(raw, signed)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            pair = _Wire(raw)
            r, s = (int.from_bytes(pair.string(), "big") for _ in range(2))
            pair.end()
            digest = getattr(hashes, _ECDSA[kind])()
            key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(digest))
        elif isinstance(key, rsa.RSAPublicKey):
            digest = getattr(hashes, _RSA[kind])()
            key.verify(raw, signed, padding.PKCS1v15(), digest)
        else:
            raise SshSignatureError(f"keys of the kind {self.kind} are not taken")


def _dearmored(armored: str) -> bytes:
    body = armored.strip()
    if not body.startswith(_BEGIN) or not body.endswith(_END):
        raise SshSignatureError("not an armored SSH signature")
    inner = "".join(body.removeprefix(_BEGIN).removesuffix(_END).split())
    try:
        return base64.b64decode(inner, validate=True)
    except binascii.Error as error:
        raise SshSignatureError("its armor does not hold base64") from error
