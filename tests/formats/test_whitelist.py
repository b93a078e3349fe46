"""White lists of other launch enclaves."""

from struct import pack

import pytest

from softsgx.formats.whitelist import Listed, WhitelistError, read_whitelist

ALICE, BOB, ONE = b"\xaa" * 32, b"\xbb" * 32, b"\x01" * 32


def intel(*signers: bytes, count: int | None = None, version: int = 7) -> bytes:
    provider = pack(">HHHH64s64s", 1, 0, 0, 0, b"key", b"signature")
    number = len(signers) if count is None else count
    head = pack(">HHHHII", 1, 1, 0, 0x20, version, number)
    return provider + head + b"".join(signers) + bytes(64)


def reference(*entries: bytes, count: int | None = None, version: int = 1) -> bytes:
    number = len(entries) if count is None else count
    head = pack(">HII384s", version, 3, number, b"modulus")
    return head + b"".join(entries) + bytes(384)


def entry(provision: int, match: int, mrsigner: bytes, mrenclave: bytes) -> bytes:
    return pack(">BB6x32s32s", provision, match, mrsigner, mrenclave)


def test_intels() -> None:
    whitelist = read_whitelist(intel(ALICE, BOB))
    assert whitelist.kind == "Intel's white list"
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
        (reference(count=1), "778 bytes, where its 1 entries need 850"),
        (reference(version=2), "version 0x2, and 1 is known"),
    ],
)
def test_what_is_broken_is_said(raw: bytes, message: str) -> None:
    with pytest.raises(WhitelistError, match=message):
        read_whitelist(raw)
