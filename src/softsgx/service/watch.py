"""What goes on on a machine, as the control channel tells it: a piece at a time.

Each piece is small, so that programs have their turn between two of them.
"""

from collections.abc import Iterator
from dataclasses import asdict
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING

from softsgx.driver.census import (
    EnclaveUse,
    EpcUse,
    enclave_use,
    epc_use,
    page_map,
    tcs_map,
    total_counts,
)
from softsgx.driver.core import Core
from softsgx.driver.counts import Counts
from softsgx.driver.encl import Encl
from softsgx.platform.audit import Who
from softsgx.platform.errors import PlatformError
from softsgx.runner.task.turn import Turn
from softsgx.service.channel import Peer, Words

if TYPE_CHECKING:
    from softsgx.service.daemon import Daemon

AT_ONCE = 64
"""Enclaves in a piece."""

ROWS_AT_ONCE = 256
"""Runs of pages, or TCSs, in a piece."""


def look(core: Core, turn: Turn) -> tuple[list[EnclaveUse], EpcUse, Counts]:
    """Look at all enclaves of a system, some at a time, and then at its EPC."""
    with turn:
        eids = list(core.enclaves)
    seen: list[EnclaveUse] = []
    for at in range(0, len(eids), AT_ONCE):
        with turn:
            there = (core.enclaves.get(eid) for eid in eids[at : at + AT_ONCE])
            seen += (enclave_use(encl) for encl in there if encl)
    with turn:
        return seen, epc_use(core), total_counts(core, seen)


def machine(daemon: "Daemon", params: Words, peer: Peer) -> Words:
    """Tell of the EPC, and what happened to all enclaves since the machine began."""
    del params, peer
    alive, counts, uses = 0, Counts(), {}
    for name, core in daemon.systems():
        seen, uses[name], happened = look(core, daemon.turn)
        alive += len(seen)
        counts.add(happened)
    epc = asdict(uses.pop(""))
    return {
        "epc": epc,
        "guests": {name: asdict(use) for name, use in uses.items()},
        "alive": alive,
        "created": daemon.machinery.machine.eids.next - 1,
        "counts": asdict(counts),
    }


def enclaves(daemon: "Daemon", params: Words, peer: Peer) -> Words:
    """Tell of enclaves from EID *first* on; *next*: with which to go on, or None."""
    del peer
    first = _number(params, "first")
    with daemon.turn:
        listed = merge(*(_from(name, core, first) for name, core in daemon.systems()))
        found = [
            (name, enclave_use(core.enclaves[eid]))
            for eid, name, core in islice(listed, AT_ONCE)
        ]
        more = next(listed, (None,))[0]
    return {"rows": [_row(name, use) for name, use in found], "next": more}


def _from(guest: str, core: Core, first: int) -> Iterator[tuple[int, str, Core]]:
    """Yield the enclaves of a system by their EIDs, which rise, from *first* on."""
    return ((eid, guest, core) for eid in core.enclaves if eid >= first)


def pages(daemon: "Daemon", params: Words, peer: Peer) -> Words:
    """Tell of the pages of enclave *eid* from number *first* on."""
    del peer
    with daemon.turn:
        _, encl = _enclave(daemon, params)
        runs, more = page_map(encl, _number(params, "first"), ROWS_AT_ONCE)
    return {"rows": [asdict(run) for run in runs], "next": more}


def threads(daemon: "Daemon", params: Words, peer: Peer) -> Words:
    """Tell of the TCSs of enclave *eid* from page number *first* on."""
    del peer
    with daemon.turn:
        core, encl = _enclave(daemon, params)
        found, more = tcs_map(core, encl, _number(params, "first"), ROWS_AT_ONCE)
    return {"rows": [asdict(one) for one in found], "next": more}


def _enclave(daemon: "Daemon", params: Words) -> tuple[Core, Encl]:
    eid = _number(params, "eid")
    for _, core in daemon.systems():
        if eid in core.enclaves:
            return core, core.enclaves[eid]
    raise PlatformError(f"enclave {eid} is gone")


def _number(params: Words, name: str) -> int:
    value = params.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise PlatformError(f"{name}: not a number")
    return value


def _row(guest: str, use: EnclaveUse) -> Words:
    """Add whose an enclave is."""
    who = Who.of(use.pids[0]) if use.pids else None
    exe, cgroup = (who.exe, who.cgroup) if who else ("", "")
    return {**asdict(use), "exe": exe, "cgroup": cgroup, "guest": guest or None}
