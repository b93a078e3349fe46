"""Trees whose programs use no SGX: what serves them in C, and what it knows."""

import ctypes

from softsgx.native.lib import Injector, Start
from softsgx.native.library import checked, library

TYPE_CHECKING = False
if TYPE_CHECKING:  # what takes long to import is not, here
    from collections.abc import Sequence

_FEW_PLACES = 256
_KINDS = 3

START = ctypes.sizeof(Start)
"""Bytes of what is known of a program between its execve and its first call."""


class KnownFiles:
    """Where files have CPUIDs: what earlier runs found, and what this one does.

    A file is known by five words, which tell its content.
    """

    def __init__(self, kept: bytes = b"") -> None:
        """Begin with what was kept, whole lines; see host_code.py."""
        self._kept = kept  # they are read when they are asked for
        self.at: int = library().softsgx_files(kept, len(kept))
        if not self.at:
            raise MemoryError

    def know(self, identity: "Sequence[int]", sites: "Sequence[int]") -> None:
        """Have a file known by all."""
        words = (ctypes.c_uint64 * len(identity))(*identity)
        places = (ctypes.c_uint64 * len(sites))(*sites)
        done = library().softsgx_know(self.at, words, places, len(sites))
        checked(done, "know")

    def find(self, identity: "Sequence[int]") -> tuple[int, ...] | None:
        """Return the places in a file, rising; None if nobody looked into it."""
        words = (ctypes.c_uint64 * len(identity))(*identity)
        find = library().softsgx_known
        places = (ctypes.c_uint64 * _FEW_PLACES)()
        count = find(self.at, words, places, _FEW_PLACES)
        if count > _FEW_PLACES:
            places = (ctypes.c_uint64 * count)()
            count = find(self.at, words, places, count)
        return None if count < 0 else tuple(places[:count])


def begin(listener: int, injector: Injector, files: KnownFiles | None) -> None:
    """Have a listener's plain calls served in C; without *files* no CPUID is replaced.

    All others are handed over by `Pulse.lead`.
    """
    at = files.at if files else None
    done = library().softsgx_plain_begin(listener, injector.at, at)
    checked(done, "plain")


def end(listener: int) -> None:
    """Have all calls handed over from now on."""
    library().softsgx_plain_end(listener)


def is_quiet(listener: int) -> bool:
    """Say whether nothing of a listener is under way in C, and no program waits."""
    return bool(library().softsgx_plain_quiet(listener))


def take_start(listener: int, pid: int) -> Start | None:
    """Return how a program begins whose execve was followed in C; it is ours now."""
    start = Start()
    found = library().softsgx_take_start(listener, pid, ctypes.addressof(start))
    return None if found < 0 else start


def put_starts(listener: int, starts: bytes) -> None:
    """Have programs that C followed, before this process executed Python."""
    for at in range(0, len(starts), START):
        done = library().softsgx_put_start(listener, starts[at : at + START])
        checked(done, "start")


def served() -> tuple[int, ...]:
    """Return how many calls were: execve, programs that began, other ones."""
    return tuple(library().softsgx_served(kind) for kind in range(_KINDS))
