"""White lists of other launch enclaves: Intel's, and the reference launch enclave's.

Numbers are big-endian.  Intel's: a provider's certificate, then a list that the
provider signed.  The reference's: a header with the RSA key that signs it, entries; its
signature is a file of its own.
"""

from dataclasses import dataclass
from struct import Struct

from softsgx.crypto.p256 import is_signature
from softsgx.crypto.rsa import (
    EXPONENT,
    SIZE,
    SignatureError,
    check_signature,
    quotients,
)
from softsgx.crypto.sha256 import sha256

INTEL_ROOT = bytes.fromhex(
    "a9365c4531676d18c2169c60751c0cee8c5fc98fc891173cebd686cb9b1e3929"
    "b67e11ca81cf287a24444fc98499055e93cce2fee65497ede4da22e10d83095f"
)
"""The P-256 key that signs providers' certificates, as Intel published it: X, Y."""

_INTEL_PROVIDER = Struct(">HHHH64s64s")
_INTEL_LIST = Struct(">HHHHII")
_INTEL_SIGNATURE = 64
_INTEL_TYPES = (0, 1)
_REFERENCE = Struct(">HIH384sI")
_REFERENCE_ENTRY = Struct(">BB6x32s32s")
_VERSION = 1
_HASH = 32
_MAX_INTEL, _MAX_REFERENCE = 2048, 512


class WhitelistError(ValueError):
    """Not a white list that is known, or a broken one."""


@dataclass(frozen=True)
class Listed:
    """A signer on a white list; *mrenclave* where the list insists on it."""

    mrsigner: bytes
    mrenclave: bytes | None = None
    may_provision: bool = False


@dataclass(frozen=True)
class Whitelist:
    """A white list; *checked* says, in words, what of its signature is known."""

    kind: str
    version: int
    entries: tuple[Listed, ...]
    checked: str


def read_whitelist(
    raw: bytes, signature: bytes = b"", root: bytes = INTEL_ROOT
) -> Whitelist:
    """Read either kind; WhitelistError says what is wrong, also with signatures.

    *signature*: the reference list's, 384 bytes; empty where it is not at hand.
    """
    if len(raw) >= _INTEL_PROVIDER.size + _INTEL_LIST.size + _INTEL_SIGNATURE:
        version, kind, *_ = _INTEL_PROVIDER.unpack_from(raw)
        if (version, kind) == (_VERSION, _INTEL_TYPES[0]) and _is_intel_list(raw):
            return _read_intel(raw, root)
    if len(raw) >= _REFERENCE.size:
        return _read_reference(raw, signature)
    raise WhitelistError(f"{len(raw)} bytes are too few for a white list")


def _is_intel_list(raw: bytes) -> bool:
    version, kind, *_ = _INTEL_LIST.unpack_from(raw, _INTEL_PROVIDER.size)
    return (version, kind) == (_VERSION, _INTEL_TYPES[1])


def _read_intel(raw: bytes, root: bytes) -> Whitelist:
    fields = _INTEL_LIST.unpack_from(raw, _INTEL_PROVIDER.size)
    version, count = fields[4], fields[5]
    start = _INTEL_PROVIDER.size + _INTEL_LIST.size
    _check_size(raw, count, _MAX_INTEL, start + count * _HASH + _INTEL_SIGNATURE)
    _check_intel_signatures(raw, root)
    ends = range(start, start + count * _HASH, _HASH)
    entries = tuple(Listed(raw[at : at + _HASH]) for at in ends)
    if entries and not any(entries[0].mrsigner):
        raise WhitelistError("its first entry is all zeros: it lets everyone launch")
    return Whitelist("Intel's white list", version, entries, "Intel signed it")


def _check_intel_signatures(raw: bytes, root: bytes) -> None:
    *_, provider, certificate = _INTEL_PROVIDER.unpack_from(raw)
    signed = _INTEL_PROVIDER.size - _INTEL_SIGNATURE
    if not is_signature(root, certificate, raw[:signed]):
        raise WhitelistError("its provider's certificate is not signed by Intel's key")
    signed_list = raw[_INTEL_PROVIDER.size : -_INTEL_SIGNATURE]
    if not is_signature(provider, raw[-_INTEL_SIGNATURE:], signed_list):
        raise WhitelistError("it is not signed by its provider")


def _read_reference(raw: bytes, signature: bytes) -> Whitelist:
    format_version, version, count, modulus, exponent = _REFERENCE.unpack_from(raw)
    if format_version != _VERSION:
        raise WhitelistError(f"version {format_version:#x}, and 1 is known")
    start, step = _REFERENCE.size, _REFERENCE_ENTRY.size
    _check_size(raw, count, _MAX_REFERENCE, start + count * step)
    entries = []
    for at in range(start, start + count * step, step):
        provision, match, mrsigner, mrenclave = _REFERENCE_ENTRY.unpack_from(raw, at)
        entries.append(
            Listed(
                mrsigner[::-1],
                mrenclave[::-1] if match else None,
                may_provision=bool(provision),
            )
        )
    checked = _checked_reference(raw, signature, modulus[::-1], exponent)
    kind = "the reference launch enclave's list"
    return Whitelist(kind, version, tuple(entries), checked)


def _checked_reference(
    raw: bytes, signature: bytes, modulus: bytes, exponent: int
) -> str:
    signer = sha256(modulus).hex()
    if not signature:
        return f"no signature was given; it would be that of MRSIGNER {signer}"
    if exponent != EXPONENT or len(signature) != SIZE:
        raise WhitelistError(f"a signature of {SIZE} bytes by exponent 3 is needed")
    try:
        own = signature[::-1]
        check_signature(modulus, own, quotients(modulus, own), raw)
    except SignatureError as error:
        raise WhitelistError("the key in it did not make this signature") from error
    return f"MRSIGNER {signer} signed it; a launch enclave of that signer would take it"


def _check_size(raw: bytes, count: int, most: int, size: int) -> None:
    if count > most:
        raise WhitelistError(f"{count} entries, and at most {most} are possible")
    if len(raw) != size:
        raise WhitelistError(f"{len(raw)} bytes, where its {count} entries need {size}")
