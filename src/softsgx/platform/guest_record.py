"""guest.toml: everything of a guest that is no secret, versioned."""

import tomllib
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from softsgx.arch.addr import PAGE_SIZE
from softsgx.launch import table as read
from softsgx.launch.guests import WhoseLists
from softsgx.launch.table import Table, WrongError
from softsgx.platform.errors import PlatformError
from softsgx.virt.kvm import Kvm
from softsgx.virt.vcpu import Setup

VERSION = 1
WRITABLE, OWN = "writable", "own"
"""What the launch key can be, if no hash in hex: the guest's, or the platform's."""

_MOST = 1 << 40
LEAST_RESIDENT = 1 << 20
"""Bytes of EPC with which a guest that has more can make progress."""
_HEAD = """\
# A guest of a softsgx platform.  Change it with `softsgx guest`.
"""


class Keys(StrEnum):
    """Whose keys a guest's enclaves get: the platform's, as on hardware, or its own."""

    SHARED = "shared"
    SEPARATE = "separate"


@dataclass(frozen=True, kw_only=True)
class GuestRecord:
    """A guest's processor as its owner ordered it; *is_on*: it runs.

    *lepubkeyhash*: WRITABLE, OWN, or 64 hex digits.  *provisioning*: it is asked for.
    *resident_bytes*: what of its EPC there really is, if that is less, while it runs.
    """

    epc_bytes: int
    lepubkeyhash: str = WRITABLE
    provisioning: bool = False
    launch: WhoseLists = WhoseLists.HOST
    keys: Keys = Keys.SHARED
    kvm: Kvm = Kvm.LINUX_6_12
    is_on: bool = False
    resident_bytes: int = 0

    @property
    def held_bytes(self) -> int:
        """What it has of the host's EPC."""
        return (self.resident_bytes or self.epc_bytes) if self.is_on else 0

    def setup(self, platforms: bytes) -> Setup:
        """Return what its firmware does; *platforms*: the platform's launch key."""
        is_writable = self.lepubkeyhash == WRITABLE
        key = None if is_writable else platforms
        if self.lepubkeyhash not in (WRITABLE, OWN):
            key = bytes.fromhex(self.lepubkeyhash)
        return Setup(
            epc_bytes=self.epc_bytes,
            kvm=self.kvm,
            launchkey=key,
            is_writable=is_writable,
        )


def encode_guest(record: GuestRecord) -> bytes:
    """Return the file's bytes."""
    lines = [
        _HEAD + f"version = {VERSION}",
        f"epc_bytes = {record.epc_bytes}",
        f'lepubkeyhash = "{record.lepubkeyhash}"',
        f"provisioning = {str(record.provisioning).lower()}",
        f'launch = "{record.launch}"',
        f'keys = "{record.keys}"',
        f'kvm = "{record.kvm}"',
        f"on = {str(record.is_on).lower()}",
        *([f"resident_bytes = {held}"] if (held := record.resident_bytes) else ()),
        "",
    ]
    return "\n".join(lines).encode()


def decode_guest(raw: bytes) -> GuestRecord:
    """Read the file's bytes; PlatformError names the key that is wrong."""
    try:
        values: dict[str, Any] = tomllib.loads(raw.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PlatformError(f"not TOML: {error}") from error
    version = values.pop("version", None)
    if version != VERSION:
        raise PlatformError(f"version {version!r}, this softsgx knows {VERSION}")
    table = Table((), values)
    try:
        record = GuestRecord(
            epc_bytes=table.need("epc_bytes", read.number(_MOST + 1)),
            lepubkeyhash=table.need("lepubkeyhash", _launch_key),
            provisioning=table.need("provisioning", read.flag),
            launch=table.take("launch", read.word(WhoseLists), WhoseLists.HOST),
            keys=table.take("keys", read.word(Keys), Keys.SHARED),
            kvm=table.need("kvm", read.word(Kvm)),
            is_on=table.need("on", read.flag),
            resident_bytes=table.take("resident_bytes", read.number(_MOST + 1), 0),
        )
        table.end("a guest")
    except WrongError as wrong:
        key = f"{wrong.place[-1]}: " if wrong.place else ""
        raise PlatformError(f"{key}{wrong.what}") from wrong
    check_guest(record)
    return record


def check_guest(record: GuestRecord) -> None:
    """Raise PlatformError for a guest that no VMM would make."""
    if not record.epc_bytes or record.epc_bytes % PAGE_SIZE:
        said = f"{record.epc_bytes} bytes of EPC: whole pages of 4 KiB are needed"
        raise PlatformError(said)
    held = record.resident_bytes
    is_part = LEAST_RESIDENT <= held < record.epc_bytes
    if held and (held % PAGE_SIZE or not is_part):
        raise PlatformError(f"resident_bytes {held}: not a part of {record.epc_bytes}")


def _launch_key(value: object) -> str:
    if value in (WRITABLE, OWN):
        return str(value)
    return read.digest(value).hex()
