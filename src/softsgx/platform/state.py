"""state.json: what a platform's owner has decided so far, in one file that is renamed.

The owner's key, which policy holds, which lists are locked, with a MAC under a key of
the platform's.  Policies lie beside it by the hash of their bytes, and never change.
"""

import json
from dataclasses import dataclass

from softsgx.crypto.sshsig import SshKey, SshKeyError
from softsgx.launch.change import Locks
from softsgx.launch.policy import ListName
from softsgx.platform.errors import PlatformError
from softsgx.platform.seal import Seal

VERSION = 1

_KEY_LABEL = b"softsgx platform state\0"


@dataclass(frozen=True, kw_only=True)
class State:
    """*digest*: SHA-256, in hex, of the policy that holds; empty: stock Linux.

    *owners*: how many keys have owned the platform, so that no handover is done twice.
    """

    owner: SshKey | None = None
    owners: int = 0
    digest: str = ""
    locks: Locks = frozenset()


def encode_state(state: State, seed: bytes) -> bytes:
    """Return the file's bytes."""
    words: dict[str, object] = {
        "version": VERSION,
        "owner": state.owner.line if state.owner else "",
        "owners": state.owners,
        "digest": state.digest,
        "locks": sorted(state.locks),
    }
    words["mac"] = Seal(_KEY_LABEL, seed).of(words)
    return json.dumps(words, indent=2).encode() + b"\n"


def decode_state(raw: bytes, seed: bytes) -> State:
    """Read the file's bytes; PlatformError if softsgx did not write them here."""
    try:
        words = json.loads(raw)
    except ValueError as error:
        raise PlatformError("not JSON") from error
    if not isinstance(words, dict):
        raise PlatformError("not a state")
    mac = words.pop("mac", "")
    if not Seal(_KEY_LABEL, seed).fits(words, mac):
        raise PlatformError("changed by another hand than softsgx's")
    if words.get("version") != VERSION:
        version = words.get("version")
        raise PlatformError(f"version {version!r}, this softsgx knows {VERSION}")
    try:
        return State(
            owner=SshKey.parse(words["owner"]) if words["owner"] else None,
            owners=words["owners"],
            digest=words["digest"],
            locks=frozenset(ListName(name) for name in words["locks"]),
        )
    except (KeyError, SshKeyError, ValueError) as error:
        raise PlatformError(f"not a state: {error}") from error
