"""A guest in one file, locked by a passphrase: to run it on another platform.

A line that says what it is, then locked JSON: the guest's record, and what its own keys
are made of.  Hardware has no such thing: what is sealed to a package stays there.
"""

import json
from dataclasses import replace
from typing import Any

from softsgx.crypto.passphrase import WrongPassphrase, lock, unlock
from softsgx.platform.errors import PlatformError
from softsgx.platform.guest_record import Keys, decode_guest, encode_guest
from softsgx.platform.guests import Guest, Guests
from softsgx.platform.platform import SEED_SIZE, OsEntropy

MAGIC = b"softsgx guest 1\n"
_MOST = 1 << 20
"""Most bytes that are looked at."""


def export_guest(guest: Guest, passphrase: str) -> bytes:
    """Return the file of a guest; the guest stays as it is."""
    record = replace(guest.record, is_on=False, resident_bytes=0)
    words = {
        "name": guest.name,
        "record": encode_guest(record).decode(),
        "identity": guest.secret.hex() if guest.secret else "",
    }
    return MAGIC + lock(passphrase, json.dumps(words).encode(), MAGIC, OsEntropy())


def check_export(raw: bytes) -> None:
    """Raise PlatformError for what is no export of a guest, before a passphrase."""
    if len(raw) > _MOST or not raw.startswith(MAGIC):
        raise PlatformError(_what_else(raw))


def bring_in_guest(
    guests: Guests, name: str | None, raw: bytes, passphrase: str
) -> Guest:
    """Make a guest of what `export_guest` gave; it is off.  PlatformError.

    *name* None: it keeps the name that it had.
    """
    check_export(raw)
    try:
        plain = unlock(passphrase, raw[len(MAGIC) :], MAGIC)
    except WrongPassphrase as error:
        raise PlatformError("wrong passphrase, or the file was changed") from error
    try:
        words: dict[str, Any] = json.loads(plain)
        record = decode_guest(str(words["record"]).encode())
        secret = bytes.fromhex(words["identity"])
        name = str(words["name"]) if name is None else name
    except (ValueError, KeyError, TypeError) as error:
        raise PlatformError("not a guest's words") from error
    is_whole = len(secret) == (SEED_SIZE if record.keys is Keys.SEPARATE else 0)
    if not is_whole or record.is_on:
        raise PlatformError("not a guest's words")
    return guests.create(name, record, secret or None)


def _what_else(raw: bytes) -> str:
    if raw.startswith(b"softsgx guest ") and not raw.startswith(MAGIC):
        version = raw[:40].split(b"\n")[0].rsplit(b" ")[-1].decode(errors="replace")
        return f"an export of version {version}, this softsgx knows 1"
    return "neither an export of a guest nor a domain's XML"
