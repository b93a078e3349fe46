import pytest

from softsgx.crypto.cmac import aes_cmac
from softsgx.crypto.compare import MismatchError, check_equal
from softsgx.crypto.sha256 import new, sha256

KEY = bytes.fromhex("2b7e151628aed2a6abf7158809cf4f3c")
MESSAGE = bytes.fromhex(
    "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51"
    "30c81c46a35ce411e5fbc1191a0a52eff69f2445df4f9b17ad2b417be66c3710"
)


@pytest.mark.parametrize(
    ("length", "mac"),
    [
        (0, "bb1d6929e95937287fa37d129b756746"),
        (16, "070a16b46b4d4144f79bdd9dd04a287c"),
        (40, "dfa66747de9ae63030ca32611497c827"),
        (64, "51f0bebf7e3b9d92fc49741779363cfe"),
    ],
)
def test_the_examples_of_rfc_4493(length: int, mac: str) -> None:
    assert aes_cmac(KEY, MESSAGE[:length]).hex() == mac


def test_a_key_has_16_bytes() -> None:
    with pytest.raises(ValueError, match="key size"):
        aes_cmac(bytes(17), b"")


def test_equal_values_pass() -> None:
    check_equal(b"same", b"same")


@pytest.mark.parametrize("other", [b"sama", b"sam", b"", b"same "])
def test_values_that_differ_raise(other: bytes) -> None:
    with pytest.raises(MismatchError):
        check_equal(b"same", other)


def test_a_running_hash_can_be_read_and_fed_on() -> None:
    running = new()
    running.update(b"a")
    assert running.copy().digest() == sha256(b"a")
    running.update(memoryview(b"bc"))
    assert running.digest() == sha256(b"abc")
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256(b"abc").hex() == digest
