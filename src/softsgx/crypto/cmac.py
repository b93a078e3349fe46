"""AES-CMAC with a 128-bit key."""

from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.cmac import CMAC


def aes_cmac(key: bytes, message: bytes) -> bytes:
    """Return the 16-byte AES-128 CMAC of *message* (NIST SP 800-38B)."""
    mac = CMAC(AES128(key))
    mac.update(message)
    return mac.finalize()
