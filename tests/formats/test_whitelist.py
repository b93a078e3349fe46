"""White lists of other launch enclaves."""

from struct import pack

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from softsgx.crypto.p256 import is_signature
from softsgx.crypto.sha256 import sha256
from softsgx.formats.whitelist import (
    INTEL_ROOT,
    Listed,
    WhitelistError,
    read_whitelist,
)
from tests.support import signing_key

ALICE, BOB, ONE = b"\xaa" + b"\x0a" * 31, b"\xbb" * 32, b"\x01" + bytes(31)


def p256() -> tuple[ec.EllipticCurvePrivateKey, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    point = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return key, point[1:]


def signed(key: ec.EllipticCurvePrivateKey, message: bytes) -> bytes:
    pair = decode_dss_signature(key.sign(message, ec.ECDSA(SHA256())))
    return b"".join(number.to_bytes(32, "big") for number in pair)


(ROOT_KEY, ROOT), (PROVIDER_KEY, PROVIDER) = p256(), p256()
LAUNCH_KEY = signing_key()


def intel(*signers: bytes, count: int | None = None, version: int = 7) -> bytes:
    provider = pack(">HHHH64s", 1, 0, 0, 0, PROVIDER)
    number = len(signers) if count is None else count
    head = pack(">HHHHII", 1, 1, 0, 0x20, version, number)
    listed = head + b"".join(signers)
    certificate = provider + signed(ROOT_KEY, provider)
    return certificate + listed + signed(PROVIDER_KEY, listed)


def reference(*entries: bytes, count: int | None = None, version: int = 1) -> bytes:
    number = len(entries) if count is None else count
    modulus = LAUNCH_KEY.modulus[::-1]
    return pack(">HIH384sI", version, 3, number, modulus, 3) + b"".join(entries)


def entry(provision: int, match: int, mrsigner: bytes, mrenclave: bytes) -> bytes:
    return pack(">BB6x32s32s", provision, match, mrsigner[::-1], mrenclave[::-1])


def test_intels() -> None:
    whitelist = read_whitelist(intel(ALICE, BOB), root=ROOT)
    assert whitelist.kind == "Intel's white list"
    assert whitelist.checked == "Intel signed it"
    assert whitelist.version == 7
    assert whitelist.entries == (Listed(ALICE), Listed(BOB))


def test_the_reference_launch_enclaves() -> None:
    raw = reference(entry(1, 0, ALICE, ONE), entry(0, 1, BOB, ONE))
    whitelist = read_whitelist(raw)
    assert whitelist.version == 3
    assert whitelist.entries == (
        Listed(ALICE, may_provision=True),
        Listed(BOB, mrenclave=ONE),
    )


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "0 bytes are too few for a white list"),
        (b"x" * 900, "version 0x7878, and 1 is known"),
        (intel(ALICE)[:-1], "247 bytes, where its 1 entries need 248"),
        (intel(ALICE, count=2), "248 bytes, where its 2 entries need 280"),
        (intel(count=2049), "2049 entries, and at most 2048 are possible"),
        (intel(bytes(32), BOB), "its first entry is all zeros: it lets everyone"),
        (reference(count=513), "513 entries, and at most 512 are possible"),
        (reference(count=1), "396 bytes, where its 1 entries need 468"),
        (reference(version=2), "version 0x2, and 1 is known"),
    ],
)
def test_what_is_broken_is_said(raw: bytes, message: str) -> None:
    with pytest.raises(WhitelistError, match=message):
        read_whitelist(raw, root=ROOT)


@pytest.mark.parametrize(
    ("at", "message"),
    [
        (9, "its provider's certificate is not signed by Intel's key"),
        (100, "its provider's certificate is not signed by Intel's key"),
        (145, "it is not signed by its provider"),
        (160, "it is not signed by its provider"),
        (-1, "it is not signed by its provider"),
    ],
)
def test_no_changed_byte_of_intels_passes(at: int, message: str) -> None:
    raw = bytearray(intel(ALICE, BOB))
    raw[at] ^= 1
    with pytest.raises(WhitelistError, match=message):
        read_whitelist(bytes(raw), root=ROOT)


def test_intels_root_is_a_key_and_not_everybodys() -> None:
    assert not is_signature(INTEL_ROOT, bytes(64), b"")
    with pytest.raises(WhitelistError, match="not signed by Intel's key"):
        read_whitelist(intel(ALICE))
    x, y = (int.from_bytes(INTEL_ROOT[at : at + 32], "big") for at in (0, 32))
    ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()


def test_the_references_signature_is_checked_if_it_is_there() -> None:
    raw = reference(entry(0, 0, ALICE, ONE))
    signature = LAUNCH_KEY.sign(raw)[::-1]
    signer = sha256(LAUNCH_KEY.modulus).hex()
    assert f"MRSIGNER {signer} signed it" in read_whitelist(raw, signature).checked
    assert read_whitelist(raw).checked == (
        f"no signature was given; it would be that of MRSIGNER {signer}"
    )
    for wrong, message in (
        (signature[::-1], "did not make this signature"),
        (signature[:-1], "a signature of 384 bytes"),
        (LAUNCH_KEY.sign(raw + b"x")[::-1], "did not make this signature"),
    ):
        with pytest.raises(WhitelistError, match=message):
            read_whitelist(raw, wrong)
    other = raw[:392] + pack(">I", 65537) + raw[396:]
    with pytest.raises(WhitelistError, match="by exponent 3 is needed"):
        read_whitelist(other, signature)
