"""How much of a daemon each user may have, so that there is some for the others.

A daemon that serves its owner alone bounds nothing but by what it has itself.
"""

import os
import resource

from softsgx.arch.addr import PAGE_SIZE
from softsgx.driver.epc.account import Scarce, Shares

_MOST_RUNS = 4096
_MOST_OPENS = 1 << 14
"""Each has a mapping of ours, of which the kernel gives 65530."""
_ADDRESSES = 1 << 46
"""Bytes of SECS.SIZE: half of what a process can map."""
_MOST_THREADS = 1024
"""Beyond those that each run has."""


def all_shares(owner: int, others_bytes: int | None = None) -> dict[Scarce, Shares]:
    """Return what there is of everything; the *owner* of the daemon is a user.

    *others_bytes*: the most memory that enclaves of all others may have.
    """
    if others_bytes is None:
        others_bytes = half_of_memory()
    fds, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    # A run has eight descriptors, a process three, an open two.
    wholes = {
        Scarce.RUNS: min(fds // 16, _MOST_RUNS),
        Scarce.OPENS: min(fds // 8, _MOST_OPENS),
        Scarce.PROCESSES: fds // 16,
        Scarce.THREADS: _MOST_THREADS,
    }
    shares = {thing: Shares(whole, owner) for thing, whole in wholes.items()}
    shares[Scarce.ADDRESSES] = Shares(_ADDRESSES // PAGE_SIZE, owner)
    shares[Scarce.PAGES] = Shares(others_bytes // PAGE_SIZE, owner, apart=True)
    return shares


def half_of_memory() -> int:
    """Return half of the machine's memory, in bytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def use_all_descriptors() -> None:
    """Let the daemon open as many files as it may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
