"""The programs of a client, to be killed as what runs in a machine that is reset."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from softsgx.platform.audit import Who
from softsgx.runner.task.threads import has_ended, parent_of
from softsgx.service.channel import Peer

_PROC = Path("/proc")


class Programs:
    """A client, and the processes that it began; OSError if it is gone already."""

    def __init__(self, peer: Peer):
        self._pid = peer.pid
        self._pidfd = os.pidfd_open(peer.pid)
        # Who connected may have ended, and its number be another user's process now.
        if Who.of(peer.pid).uid != peer.uid:
            os.close(self._pidfd)
            raise ProcessLookupError(f"process {peer.pid} is another one")

    def kill(self) -> None:
        """Kill them: those that are below the client, and itself."""
        fds = [] if has_ended(self._pidfd) else list(self._below())
        for fd in (*fds, self._pidfd):
            with suppress(OSError):
                signal.pidfd_send_signal(fd, signal.SIGKILL)
        for fd in fds:
            os.close(fd)

    def close(self) -> None:
        """Forget them."""
        os.close(self._pidfd)

    def _below(self) -> Iterator[int]:
        """Yield descriptors of the processes below the client."""
        children: dict[int, list[int]] = {}
        for name in (place.name for place in _PROC.iterdir()):
            if name.isdecimal():
                children.setdefault(parent_of(int(name)), []).append(int(name))
        left = [self._pid]
        while left:
            parent = left.pop()
            for pid in children.get(parent, []):
                left.append(pid)
                with suppress(OSError):
                    fd = os.pidfd_open(pid)
                    if parent_of(pid) == parent:
                        yield fd
                    else:
                        os.close(fd)
