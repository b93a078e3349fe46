"""Owners who sign as ssh-keygen does, with a key in software or on a FIDO device."""

import base64
import hashlib

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from softsgx.crypto.sshsig import SshKey
from softsgx.platform.policies import NAMESPACE

_ED25519, _ECDSA = "ssh-ed25519", "ecdsa-sha2-nistp256"
FIDO_KINDS = (f"sk-{_ED25519}@openssh.com", f"sk-{_ECDSA}@openssh.com")


def string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def mpint(number: int) -> bytes:
    return string(number.to_bytes(number.bit_length() // 8 + 1, "big"))


def armored(body: bytes) -> str:
    inner = base64.b64encode(body).decode()
    return f"-----BEGIN SSH SIGNATURE-----\n{inner}\n-----END SSH SIGNATURE-----\n"


class Owner:
    """A key of one kind, and the signatures that it makes."""

    def __init__(self, kind: str = _ED25519) -> None:
        self._kind, self._is_fido = kind.encode(), kind in FIDO_KINDS
        self._ed25519 = ed25519.Ed25519PrivateKey.generate()
        self._ec = ec.generate_private_key(ec.SECP256R1())
        application = string(b"ssh:") if self._is_fido else b""
        self._blob = string(self._kind) + self._public() + application
        self.key = SshKey.parse(f"{kind} {base64.b64encode(self._blob).decode()}")

    def _public(self) -> bytes:
        if b"ed25519" in self._kind:
            return string(self._ed25519.public_key().public_bytes_raw())
        point = self._ec.public_key().public_bytes(
            Encoding.X962, PublicFormat.UncompressedPoint
        )
        return string(b"nistp256") + string(point)

    def sign(
        self,
        message: bytes,
        namespace: str = NAMESPACE,
        *,
        flags: int = 1,
        application: bytes = b"ssh:",
    ) -> str:
        """*flags* and *application* are what a FIDO device adds."""
        digest = hashlib.sha512(message).digest()
        head = string(namespace.encode()) + string(b"") + string(b"sha512")
        signed, tail = b"SSHSIG" + head + string(digest), b""
        if self._is_fido:
            tail = bytes([flags]) + (7).to_bytes(4, "big")
            hashed = hashlib.sha256(signed).digest()
            signed = hashlib.sha256(application).digest() + tail + hashed
        inner = string(self._kind) + string(self._raw(signed)) + tail
        blob = b"SSHSIG" + (1).to_bytes(4, "big") + string(self._blob)
        return armored(blob + head + string(inner))

    def _raw(self, signed: bytes) -> bytes:
        if b"ed25519" in self._kind:
            return self._ed25519.sign(signed)
        der = self._ec.sign(signed, ec.ECDSA(hashes.SHA256()))
        return b"".join(map(mpint, decode_dss_signature(der)))
