"""AES-CMAC with a 128-bit key."""


def aes_cmac(key: bytes, message: bytes) -> bytes:
    """Return the 16-byte AES-128 CMAC of *message* (NIST SP 800-38B)."""
    # The library takes as long to import as a short program runs: only when needed.
    from cryptography.hazmat.primitives import cmac  # noqa: PLC0415 -- slow
    from cryptography.hazmat.primitives.ciphers import (  # noqa: PLC0415 -- slow
        algorithms,
    )

    mac = cmac.CMAC(algorithms.AES128(key))
    mac.update(message)
    return mac.finalize()
