"""AES-CMAC with a 128-bit key."""


def aes_cmac(key: bytes, message: bytes) -> bytes:
    """Return the 16-byte AES-128 CMAC of *message* (NIST SP 800-38B)."""
    # The library takes as long to import as a short program runs: only when needed.
    from cryptography.hazmat.primitives.ciphers.algorithms import AES128  # noqa: PLC0415
    from cryptography.hazmat.primitives.cmac import CMAC  # noqa: PLC0415

    mac = CMAC(AES128(key))
    mac.update(message)
    return mac.finalize()
