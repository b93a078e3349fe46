"""White lists of other launch enclaves: Intel's, and the reference launch enclave's.

Numbers are big-endian.  Intel's: a provider's certificate, then a list that the
provider signed.  The reference's: a header with the RSA key that signed it, entries.
"""

from dataclasses import dataclass
from struct import Struct

_INTEL_PROVIDER = Struct(">HHHH64s64s")
_INTEL_LIST = Struct(">HHHHII")
_INTEL_SIGNATURE = 64
_INTEL_TYPES = (0, 1)
_REFERENCE = Struct(">HII384s")
_REFERENCE_ENTRY = Struct(">BB6x32s32s")
_REFERENCE_SIGNATURE = 384
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
    """A white list: its maker, version and entries; its signature is not judged."""

    kind: str
    version: int
    entries: tuple[Listed, ...]


def read_whitelist(raw: bytes) -> Whitelist:
    """Read either kind; WhitelistError says what is wrong."""
    if len(raw) >= _INTEL_PROVIDER.size + _INTEL_LIST.size + _INTEL_SIGNATURE:
        version, kind, *_ = _INTEL_PROVIDER.unpack_from(raw)
        if (version, kind) == (_VERSION, _INTEL_TYPES[0]) and _is_intel_list(raw):
            return _read_intel(raw)
    if len(raw) >= _REFERENCE.size + _REFERENCE_SIGNATURE:
        return _read_reference(raw)
    raise WhitelistError(f"{len(raw)} bytes are too few for a white list")


def _is_intel_list(raw: bytes) -> bool:
    version, kind, *_ = _INTEL_LIST.unpack_from(raw, _INTEL_PROVIDER.size)
    return (version, kind) == (_VERSION, _INTEL_TYPES[1])


def _read_intel(raw: bytes) -> Whitelist:
    fields = _INTEL_LIST.unpack_from(raw, _INTEL_PROVIDER.size)
    version, count = fields[4], fields[5]
    start = _INTEL_PROVIDER.size + _INTEL_LIST.size
    _check_size(raw, count, _MAX_INTEL, start + count * _HASH + _INTEL_SIGNATURE)
    ends = range(start, start + count * _HASH, _HASH)
    entries = tuple(Listed(raw[at : at + _HASH]) for at in ends)
    if entries and not any(entries[0].mrsigner):
        raise WhitelistError("its first entry is all zeros: it lets everyone launch")
    return Whitelist("Intel's white list", version, entries)


def _read_reference(raw: bytes) -> Whitelist:
    format_version, version, count, _ = _REFERENCE.unpack_from(raw)
    if format_version != _VERSION:
        raise WhitelistError(f"version {format_version:#x}, and 1 is known")
    start, step = _REFERENCE.size, _REFERENCE_ENTRY.size
    _check_size(raw, count, _MAX_REFERENCE, start + count * step + _REFERENCE_SIGNATURE)
    entries = []
    for at in range(start, start + count * step, step):
        provision, match, mrsigner, mrenclave = _REFERENCE_ENTRY.unpack_from(raw, at)
        entries.append(
            Listed(
                mrsigner, mrenclave if match else None, may_provision=bool(provision)
            )
        )
    return Whitelist("the reference launch enclave's list", version, tuple(entries))


def _check_size(raw: bytes, count: int, most: int, size: int) -> None:
    if count > most:
        raise WhitelistError(f"{count} entries, and at most {most} are possible")
    if len(raw) != size:
        raise WhitelistError(f"{len(raw)} bytes, where its {count} entries need {size}")
