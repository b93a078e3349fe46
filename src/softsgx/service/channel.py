"""Messages over a Unix socket: a JSON object each, with descriptors beside it."""

import array
import json
import os
import socket
import struct
from dataclasses import dataclass, field
from typing import Any, Self

VERSION = 1
"""Of what is said; both sides name theirs in the first message."""

MAX_MESSAGE = 1 << 17
"""Most bytes of a message."""

MAX_FDS = 8
"""Most descriptors that come with one."""

Words = dict[str, Any]

_UCRED = struct.Struct("iII")


class ChannelError(Exception):
    """The other side is not one of softsgx, or of another version."""


@dataclass(frozen=True)
class Message:
    """What came: its words, and descriptors that are ours to close."""

    words: Words
    fds: list[int] = field(default_factory=list)

    def close(self) -> None:
        """Close what came with it."""
        while self.fds:
            os.close(self.fds.pop())


@dataclass(frozen=True)
class Peer:
    """Who connected, as the kernel says."""

    pid: int
    uid: int
    gid: int


class Channel:
    """One connection; a message is sent whole or not at all."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    @classmethod
    def pair(cls) -> tuple[Self, Self]:
        """Return the two ends of a new connection."""
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(one), cls(other)

    @property
    def fd(self) -> int:
        """The descriptor, for a loop to wait on."""
        return self._socket.fileno()

    @property
    def peer(self) -> Peer:
        """Who connected."""
        raw = self._socket.getsockopt(
            socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size
        )
        return Peer(*_UCRED.unpack(raw))

    def send(self, words: Words, fds: list[int] | None = None) -> None:
        """Send a message; OSError if it cannot be."""
        raw = json.dumps(words).encode()
        rights = array.array("i", fds or [])
        beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if fds else []
        self._socket.sendmsg([raw], beside)

    def offer(self, words: Words) -> bool:
        """Send a message if that needs no waiting; say whether it was sent."""
        try:
            self._socket.send(json.dumps(words).encode(), socket.MSG_DONTWAIT)
        except OSError:
            return False
        return True

    def receive(self) -> Message | None:
        """Wait for a message; None: the other side is gone.  ChannelError, OSError."""
        raw, fds, flags, _ = socket.recv_fds(self._socket, MAX_MESSAGE, MAX_FDS)
        if not raw and not fds:
            return None
        try:
            return Message(_words(raw, flags), fds)
        except ChannelError:
            Message({}, fds).close()
            raise

    def close(self) -> None:
        """End the connection."""
        self._socket.close()


def _words(raw: bytes, flags: int) -> Words:
    if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
        raise ChannelError("a message is too long")
    try:
        words = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ChannelError("a message is not JSON") from error
    if not isinstance(words, dict):
        raise ChannelError("a message is no object")
    return words
