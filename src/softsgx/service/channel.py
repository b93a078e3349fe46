"""The data channel: messages of a JSON object each, with descriptors beside it."""

import array
import errno
import json
import os
import socket
import struct
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

VERSION = 2
"""Of what is said; both sides name theirs in the first message."""

MAX_MESSAGE = 1 << 16
"""Most bytes of a message."""

MAX_FDS = 4
"""Most descriptors that come with one."""

Words = dict[str, Any]

_UCRED = struct.Struct("iII")
_SO_PEERPIDFD = 77


class ChannelError(Exception):
    """The other side is not one of softsgx, or of another version."""


@dataclass(frozen=True)
class Message:
    """What came: its words, and descriptors that are ours to close."""

    words: Words
    fds: list[int] = field(default_factory=list)

    def take_fd(self) -> int:
        """Return its one descriptor, now the caller's; ChannelError."""
        if len(self.fds) != 1:
            raise ChannelError("a message has not the descriptor that it should")
        return self.fds.pop()

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


def peer_of(sock: socket.socket) -> Peer:
    """Say who connected to a socket."""
    size = _UCRED.size
    return Peer(
        *_UCRED.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    )


def pidfd_of(sock: socket.socket) -> int:
    """Return a pidfd of who connected to a socket, the caller's; OSError: he is gone.

    Kernels before 6.5 do not say: there it is whoever has his number now.
    """
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD, 4)
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:
            raise
        return os.pidfd_open(peer_of(sock).pid)
    return int.from_bytes(raw, sys.byteorder)


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
        return peer_of(self._socket)

    def send(self, words: Words, fds: Sequence[int] = ()) -> None:
        """Send a message; OSError if it cannot be."""
        self._send(words, fds, 0)

    def offer(self, words: Words, fds: Sequence[int] = ()) -> None:
        """Send a message, but not if that needs waiting: BlockingIOError; OSError."""
        self._send(words, fds, socket.MSG_DONTWAIT)

    def _send(self, words: Words, fds: Sequence[int], flags: int) -> None:
        rights = array.array("i", fds)
        beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)] if fds else []
        flags |= socket.MSG_NOSIGNAL
        self._socket.sendmsg([json.dumps(words).encode()], beside, flags)

    def receive(self, *, seconds: float | None = 0) -> Message | None:
        """Take a message; None: the other side is gone.  ChannelError, OSError.

        Waits for *seconds*, or for as long as it takes: TimeoutError, or, without
        any, BlockingIOError.
        """
        self._socket.settimeout(seconds)
        try:
            raw, fds, flags, _ = socket.recv_fds(
                self._socket, MAX_MESSAGE, MAX_FDS, socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionResetError:
            return None
        finally:
            self._socket.settimeout(None)
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
