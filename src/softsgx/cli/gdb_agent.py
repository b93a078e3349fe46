"""What gdb reads of the agent in a program under softsgx: enclaves, and who is inside.

Part of the script that `softsgx debug` has gdb source; runs in gdb's own Python.
"""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gdb

from softsgx.arch.secs import AttributeFlags
from softsgx.native.numbers import AGENT_BASE, BLOCK_SIZE, BLOCKS_OFFSET

PACKAGE = Path(__file__).resolve().parents[1]
_KNOWN = json.loads((PACKAGE / "native" / "images.json").read_text())
_LAYOUT = int(_KNOWN["agent_layout"], 16)
_LAYOUT_WORDS = struct.Struct("<12Q")
_RANGE = struct.Struct("<QQ")


def read(address: int, size: int) -> bytes:
    """Return bytes of the program's memory; gdb.MemoryError."""
    return bytes(gdb.selected_inferior().read_memory(address, size))


@dataclass(frozen=True)
class Enclave:
    """An enclave that the program has mapped."""

    base: int
    size: int
    attributes: int
    ssaframesize: int

    @property
    def is_debug(self) -> bool:
        """Say whether one may look inside."""
        return bool(self.attributes & AttributeFlags.DEBUG)

    def covers(self, address: int) -> bool:
        """Say whether an address is in it."""
        return self.base <= address < self.base + self.size


@dataclass(frozen=True)
class Inside:
    """A thread that is inside an enclave, and where the host entered it."""

    tid: int
    tcs: int
    aep: int
    ursp: int
    urbp: int


def _layout() -> tuple[int, ...]:
    return _LAYOUT_WORDS.unpack(read(_LAYOUT, _LAYOUT_WORDS.size))


def enclaves() -> list[Enclave]:
    """Return the enclaves of the program; none without an agent."""
    try:
        table, count, step, *_, attributes, frame = _layout()
        raw = read(table, count * step)
    except gdb.MemoryError:
        return []
    found = []
    for at in range(0, len(raw), step):
        base, size = _RANGE.unpack_from(raw, at)
        if size:
            words = raw[at + attributes :][:8], raw[at + frame :][:4]
            flags, pages = (int.from_bytes(word, "little") for word in words)
            found.append(Enclave(base, size, flags, pages))
    return sorted(found, key=lambda one: one.base)


def enclave_at(address: int) -> Enclave | None:
    """Return the enclave at an address."""
    return next((one for one in enclaves() if one.covers(address)), None)


def inside_threads() -> Iterator[Inside]:
    """Yield the threads that are inside an enclave."""
    try:
        _, _, _, owners, blocks, *fields = _layout()
        tids = struct.unpack(f"<{blocks}I", read(owners, 4 * blocks))
    except gdb.MemoryError:
        return
    inside, tcs, aep, ursp, urbp = fields[:5]
    for index, tid in enumerate(tids):
        if not tid:
            return
        head = read(AGENT_BASE + BLOCKS_OFFSET + index * BLOCK_SIZE, 256)
        if int.from_bytes(head[inside : inside + 4], "little"):
            words = (int.from_bytes(head[x : x + 8], "little") for x in (tcs, aep))
            host = (int.from_bytes(head[x : x + 8], "little") for x in (ursp, urbp))
            yield Inside(tid, *words, *host)
