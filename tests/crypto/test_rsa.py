import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from softsgx.crypto.rsa import (
    SIZE,
    KeyFormError,
    Quotients,
    SignatureError,
    SigningKey,
    check_signature,
    quotients,
)
from tests.support import signing_key

MESSAGE = b"what is signed"


@pytest.fixture(scope="module")
def signed() -> tuple[bytes, bytes, Quotients]:
    key = signing_key()
    signature = key.sign(MESSAGE)
    return key.modulus, signature, quotients(key.modulus, signature)


def test_what_was_signed_verifies(signed: tuple[bytes, bytes, Quotients]) -> None:
    check_signature(*signed, MESSAGE)


def test_another_message_does_not(signed: tuple[bytes, bytes, Quotients]) -> None:
    with pytest.raises(SignatureError, match="not over this message"):
        check_signature(*signed, MESSAGE + b"!")


@pytest.mark.parametrize("which", [0, 1], ids=["q1", "q2"])
@pytest.mark.parametrize("by", [-1, 1, 1 << 3000])
def test_another_quotient_does_not(
    signed: tuple[bytes, bytes, Quotients], which: int, by: int
) -> None:
    modulus, signature, good = signed
    number = (int.from_bytes(good[which], "little") + by) % (1 << SIZE * 8)
    raw = number.to_bytes(SIZE, "little")
    bad = Quotients(raw, good.q2) if which == 0 else Quotients(good.q1, raw)
    with pytest.raises(SignatureError, match=f"q{1 + which} is not"):
        check_signature(modulus, signature, bad, MESSAGE)


def test_a_signature_not_below_the_modulus_is_none(
    signed: tuple[bytes, bytes, Quotients],
) -> None:
    modulus, _, good = signed
    with pytest.raises(SignatureError, match="not below the modulus"):
        check_signature(modulus, modulus, good, MESSAGE)
    with pytest.raises(SignatureError, match="not below the modulus"):
        quotients(modulus, b"\xff" * SIZE)


def test_a_modulus_of_zero_is_an_error_and_no_crash() -> None:
    with pytest.raises(SignatureError):
        check_signature(bytes(SIZE), bytes(SIZE), Quotients(b"", b""), MESSAGE)


def test_a_padding_of_another_form_does_not_verify() -> None:
    # 1 cubed is 1, below every modulus: q1 and q2 are zero, the message is not there.
    one = (1).to_bytes(SIZE, "little")
    zeros = Quotients(bytes(SIZE), bytes(SIZE))
    with pytest.raises(SignatureError, match="not over this message"):
        check_signature(signing_key().modulus, one, zeros, MESSAGE)


def test_a_key_survives_pem() -> None:
    again = SigningKey.from_pem(signing_key().to_pem())
    assert again.modulus == signing_key().modulus


@pytest.mark.parametrize(
    ("bits", "exponent", "why"),
    [(2048, 3, "2048 bits with exponent 3"), (3072, 65537, "exponent 65537")],
)
def test_other_rsa_keys_are_refused(bits: int, exponent: int, why: str) -> None:
    with pytest.raises(KeyFormError, match=why):
        SigningKey(rsa.generate_private_key(exponent, bits))


def test_keys_that_are_not_rsa_are_refused() -> None:
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with pytest.raises(KeyFormError, match="need an RSA key"):
        SigningKey.from_pem(pem)
