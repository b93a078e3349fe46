"""`make scale`: what one more page or enclave costs, by the EPC's size and the crowd.

Times are of this thread, the least of some rounds; they are read, not asserted.
"""

import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from softsgx.driver.encl import Encl
from tests.scale.crowd import Crowd

SIZES = (1 << 20, 64 << 20, 1 << 30, 64 << 30, 1 << 40)
CROWDS = (1, 100, 1000, 5000)
_ROUNDS, _PAGES = 7, 16


def main() -> None:
    """Print two tables."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    head = f"{'start':>10} {'build':>10} {'EAUG':>10} {'end':>10}   microseconds"
    _say(f"{'EPC, MiB':>10} {head}")
    for size in SIZES:
        start = _least(partial(_start, size))
        _say(f"{size >> 20:>10} {start:>10.0f} {_row(Crowd(size))}")
    _say(f"{'enclaves':>10} {'KiB each':>10} {head[11:]}")
    crowd, base, encls = Crowd(1 << 40), 0, list[Encl]()
    for count in CROWDS:
        while len(encls) < count:
            encls.append(crowd.build())
        base = base or _resident()
        each = (_resident() - base) / count / 1024
        _say(f"{count:>10} {each:>10.1f} {_row(crowd)}")


def _start(size: int, _: int) -> None:
    Crowd(size)


def _row(crowd: Crowd) -> str:
    """Build enclaves, add pages to one of them, and end them."""
    encls: list[Encl] = []
    build = _least(lambda _: encls.append(crowd.build()))

    def touch(at: int) -> None:
        for page in range(at * _PAGES, (at + 1) * _PAGES):
            crowd.touch(encls[0], 100 + page)

    eaug = _least(touch) / _PAGES
    end = _least(lambda at: crowd.remove(encls[at]))
    return f"{build:>10.0f} {eaug:>10.1f} {end:>10.0f}"


def _least(deed: Callable[[int], object]) -> float:
    """Return the microseconds of the round that took least."""
    times = []
    for at in range(_ROUNDS):
        start = time.thread_time()
        deed(at)
        times.append(time.thread_time() - start)
    return min(times) * 1e6


def _resident() -> int:
    """Return the bytes of memory that this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def _say(what: str) -> None:
    sys.stdout.write(what + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
