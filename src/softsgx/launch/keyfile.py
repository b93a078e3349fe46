"""The lists as files: the grammar of /sys/kernel/security/sgx as it was posted.

One write is one command: a key (64 hex digits and a newline), `clear`, or `lock`.
20201121151259.GA3948@wind.enjellic.com.
"""

from dataclasses import dataclass

from softsgx.launch.entry import Entries, Entry
from softsgx.launch.policy import ListName

KEY_SIZE = 65
"""Bytes of a write that adds a key: its 64 digits and a newline."""

FILES = {f"{name}_keys": name for name in ListName}
"""The files' names, and the lists that they are."""


@dataclass(frozen=True)
class AddKey:
    """Append a signer to the list."""

    entry: Entry


@dataclass(frozen=True)
class Clear:
    """Empty the list."""


@dataclass(frozen=True)
class Lock:
    """Let no one open the file again until the platform is reset."""


Command = AddKey | Clear | Lock


def parse_write(data: bytes, position: int) -> Command:
    """Return what a write means; ValueError (EINVAL) for what means nothing."""
    if data[:5] == b"clear" and len(data) == 6:
        return Clear()
    if data[:4] == b"lock" and len(data) == 5:
        return Lock()
    if len(data) != KEY_SIZE or position != 0:
        raise ValueError(f"{len(data)} bytes at {position}: a key is {KEY_SIZE} at 0")
    if data[-1:] != b"\n" or not _is_hex(data[:-1]):
        raise ValueError("64 hex digits and a newline are expected")
    return AddKey(Entry(mrsigner=bytes.fromhex(data[:-1].decode())))


def _is_hex(digits: bytes) -> bool:
    return all(digit in b"0123456789abcdefABCDEF" for digit in digits)


def render(entries: Entries) -> bytes:
    """Return what reading a list's file gives: a line a signer."""
    return b"".join(entry.mrsigner.hex().encode() + b"\n" for entry in entries.all)
