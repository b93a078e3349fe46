import pytest

from softsgx.crypto.compare import MismatchError
from softsgx.crypto.gcm import aes_gcm_decrypt, aes_gcm_encrypt

# The GCM specification's test case 4: a header and a plaintext that is no block.
KEY = bytes.fromhex("feffe9928665731c6d6a8f9467308308")
IV = bytes.fromhex("cafebabefacedbaddecaf888")
HEADER = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
PLAIN = bytes.fromhex(
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
)
CIPHER = bytes.fromhex(
    "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
    "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091"
)
MAC = bytes.fromhex("5bc94fbc3221a5db94fae95ae7121a47")


def test_the_specifications_vector_both_ways() -> None:
    assert aes_gcm_encrypt(KEY, IV, HEADER, PLAIN) == CIPHER + MAC
    assert aes_gcm_decrypt(KEY, IV, HEADER, CIPHER + MAC) == PLAIN


@pytest.mark.parametrize("part", range(4))
def test_a_bit_of_anything_that_is_another_is_a_mismatch(part: int) -> None:
    parts = [KEY, IV, HEADER, CIPHER + MAC]
    parts[part] = bytes([parts[part][0] ^ 1]) + parts[part][1:]
    with pytest.raises(MismatchError):
        aes_gcm_decrypt(parts[0], parts[1], parts[2], parts[3])
