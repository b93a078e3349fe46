"""Runs that began without Python (native/start): what they tell when they need it."""

import fcntl
import os

from softsgx.native.abi import Handed
from softsgx.native.plain import START
from softsgx.native.pulse import NOTIFICATION

_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW
_UNCHANGED = _SEALS | fcntl.F_SEAL_WRITE


class Told:
    """A run's head, its calls and starts, the agent's configuration."""

    def __init__(self, told: bytes) -> None:
        self.head = Handed.from_bytes(told[: Handed.SIZE])
        starts = Handed.SIZE + self.head.calls * NOTIFICATION
        config = starts + self.head.starts * START
        self.calls = [
            told[at : at + NOTIFICATION]
            for at in range(Handed.SIZE, starts, NOTIFICATION)
        ]
        self.starts = told[starts:config]
        self.config = told[config : config + self.head.config_size]


def take(fd: int) -> Told | None:
    """Return what a descriptor tells, and close it; None: it tells of no run."""
    try:
        if fcntl.fcntl(fd, fcntl.F_GET_SEALS) != _UNCHANGED:
            return None
        told = Told(os.pread(fd, os.fstat(fd).st_size, 0))
        for one in (told.head.listener, told.head.errors):
            os.set_inheritable(one, False)  # noqa: FBT003 -- the standard library's own
    except (OSError, ValueError):
        return None
    os.close(fd)
    return told
