from dataclasses import replace

import pytest

from softsgx.arch.secs import AttributeFlags, Attributes
from softsgx.arch.sigstruct import Sigstruct, signed_part
from softsgx.crypto.rsa import SigningKey
from softsgx.crypto.sha256 import sha256
from softsgx.formats.elf import read_flat
from softsgx.formats.image import FormatError, Image, measure_image
from softsgx.formats.sign import Claims, bcd_date, mrsigner, sign_image
from tests.formats.test_elf import TCS, TEXT, elf

CLAIMS = Claims(date=20240229, isvprodid=7, isvsvn=3)
DIGEST_INFO = bytes.fromhex("3031300d060960864801650304020105000420")


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return SigningKey.generate()


@pytest.fixture
def image() -> Image:
    return read_flat(elf(TCS, TEXT))


def number(raw: bytes) -> int:
    return int.from_bytes(raw, "little")


def test_the_claims_stand_in_the_sigstruct(image: Image, key: SigningKey) -> None:
    sigstruct = sign_image(image, CLAIMS, key)
    assert sigstruct.date == 0x20240229
    assert (sigstruct.isvprodid, sigstruct.isvsvn) == (7, 3)
    assert sigstruct.enclavehash == measure_image(image)
    assert mrsigner(sigstruct) == sha256(key.modulus)


def test_q1_and_q2_lead_from_the_signature_to_the_padded_hash(
    image: Image, key: SigningKey
) -> None:
    sigstruct = sign_image(image, CLAIMS, key)
    s, m = number(sigstruct.signature), number(sigstruct.modulus)
    first = s * s - number(sigstruct.q1) * m
    padded = s * first - number(sigstruct.q2) * m
    assert 0 <= first < m
    info = DIGEST_INFO + sha256(signed_part(bytes(sigstruct)))
    expected = b"\0\1" + b"\xff" * (384 - 3 - len(info)) + b"\0" + info
    assert padded.to_bytes(384, "big") == expected


def test_debug_is_all_or_nothing(image: Image, key: SigningKey) -> None:
    production = sign_image(image, CLAIMS, key)
    debug = sign_image(image, replace(CLAIMS, debug=True), key)
    assert not production.attributes.flags & AttributeFlags.DEBUG
    assert debug.attributes.flags & AttributeFlags.DEBUG
    for sigstruct in (production, debug):
        assert sigstruct.attributemask.flags & AttributeFlags.DEBUG


def test_a_launch_enclave_is_one_by_its_signers_word(
    image: Image, key: SigningKey
) -> None:
    ordinary = sign_image(image, CLAIMS, key)
    launch = sign_image(image, replace(CLAIMS, launch=True), key)
    more = launch.attributes.flags ^ ordinary.attributes.flags
    assert more == AttributeFlags.EINITTOKENKEY
    assert launch.enclavehash == ordinary.enclavehash


def test_nothing_lies_between_the_fields(image: Image, key: SigningKey) -> None:
    assert Sigstruct.reserved_is_zero(bytes(sign_image(image, CLAIMS, key)))


def test_an_xfrm_without_sse_is_refused(image: Image, key: SigningKey) -> None:
    bare = replace(image, attributes=Attributes(flags=AttributeFlags(4), xfrm=1))
    with pytest.raises(FormatError, match="0x1 lacks x87 or SSE"):
        sign_image(bare, CLAIMS, key)


def test_a_date_is_read_as_digits() -> None:
    assert bcd_date(20171231) == 0x20171231
