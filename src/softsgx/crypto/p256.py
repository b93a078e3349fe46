"""Signatures by ECDSA on the curve P-256, of messages hashed with SHA-256.

Numbers are big-endian; a public key is X and Y, a signature R and S, 64 bytes each.
"""

# Few programs need the library; it is imported by whoever checks a signature.
# ruff: noqa: PLC0415


def is_signature(public: bytes, signature: bytes, message: bytes) -> bool:
    """Say whether a key made a signature of a message."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec, utils
    from cryptography.hazmat.primitives.hashes import SHA256

    x, y, r, s = (
        int.from_bytes(pair[at : at + 32], "big")
        for pair in (public, signature)
        for at in (0, 32)
    )
    try:
        key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
        encoded = utils.encode_dss_signature(r, s)
        key.verify(encoded, message, ec.ECDSA(SHA256()))
    except (InvalidSignature, ValueError):
        return False
    return True
