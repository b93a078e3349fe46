"""What the supervisor tells the agent to do to the program's address space."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.secs import Secs
from softsgx.driver.core import Changed
from softsgx.driver.driver import Driver
from softsgx.driver.encl import Encl
from softsgx.driver.mapping import Extent
from softsgx.driver.uapi import TASK_SIZE
from softsgx.driver.vepc import VepcFile
from softsgx.native import abi
from softsgx.native.abi import MAX_OPS, OpFlag, OpKind
from softsgx.native.numbers import (
    IN_PART_OURS_CODE,
    NOT_IMPLEMENTED_CODE,
    NOT_OURS_CODE,
)
from softsgx.runner.code.enclave_code import EnclaveCode
from softsgx.runner.task.caller import Caller
from softsgx.runner.task.process import Process, Where

_, _OP = abi.packer(abi.Op)
TAIL_OFFSET, _TAIL = abi.packer(abi.Context, "nops")
"""Where the operations are announced: the end of a context."""
_NO_FLAGS = OpFlag(0)


NOT_OURS, IN_PART_OURS = NOT_OURS_CODE, IN_PART_OURS_CODE
NOT_IMPLEMENTED = NOT_IMPLEMENTED_CODE


@dataclass(frozen=True)
class NewFd:
    """An answer that is a descriptor: ours, to be copied into the process."""

    fd: int
    flags: int


Result = int | NewFd


@dataclass
class Answer:
    """The operations that follow from one call, for one process."""

    process: Process
    code: EnclaveCode
    ops: list[bytes] = field(default_factory=list)
    is_mapping: bool = False
    """One of the operations makes a mapping, or takes one away."""
    secs: Secs | None = None
    """Of the enclave that an ENCLAVE operation among them is about."""
    _mapped: list[Where] = field(default_factory=list)
    _changes: list[Changed] = field(default_factory=list)

    def note_changes(self, driver: Driver) -> None:
        """Take note of EPCM entries that this call changed: others come next."""
        changes = driver.drain()
        for encl, offset, length in changes:
            start = encl.base + offset
            encl.changed(start, start + length, self.process.mm)
        self._changes += changes

    def put_off(self) -> None:
        """Leave what was noted to the process's next answer: this one is not given."""
        changes, self._changes = self._changes, []
        for encl, offset, length in changes:
            start = encl.base + offset
            self.process.mm.fall_behind(encl, start, start + length)

    def protect_changes(self, driver: Driver) -> None:
        """Add what follows from EPCM entries that changed, by others' calls too."""
        self.note_changes(driver)
        changes, self._changes = self._changes, []
        for encl, offset, length in changes:
            start = encl.base + offset
            self.protect(driver, start, start + length)
        for start, end in self.process.mm.catch_up():
            self.protect(driver, start, end)

    def protect(self, driver: Driver, start: int, end: int) -> None:
        """Set the native protections of the enclave mappings in a range."""
        for extent in self._native(driver, start, end):
            self._add(OpKind.PROTECT, extent.start, extent.end, extent.prot)

    def map(self, driver: Driver, start: int, end: int) -> None:
        """Map an enclave's memory, the call's NewFd, over a range, page by page.

        Where pages may leave, nothing is allowed until they are watched: see `allow`.
        """
        waits = self.process.mm.tables.can_evict
        for low, high, prot, encl in self._native(driver, start, end):
            inside = encl.created and encl.base <= low and high <= encl.end
            offset = low - encl.base if inside else 0
            native = prot if inside and not waits else 0
            self._mapped.append((encl, low, high))
            self._add(OpKind.MAP, low, high, native, offset, _flags(encl))

    def allow(self, driver: Driver, places: Iterable[Where]) -> None:
        """Allow what may be done in mappings that are made, and watched."""
        for _, start, end in places:
            for extent in self._native(driver, start, end):
                if extent.prot:
                    self._add(OpKind.PROTECT, extent.start, extent.end, extent.prot)

    def _native(self, driver: Driver, start: int, end: int) -> Iterator[Extent]:
        return self.code.runnable(driver.effective(self.process.mm, start, end))

    def attach(self, driver: Driver, encl: Encl) -> None:
        """Give the agent a second mapping of an enclave, once, while it maps it."""
        if encl.created and encl not in self.process.aliased:
            self.process.aliased[encl] = encl.base
            self.secs = driver.secs(encl)
            self._mapped.append((encl, 0, 0))
            self._add(OpKind.ENCLAVE, encl.base, encl.end, flags=_flags(encl))

    def detach_unmapped(self) -> None:
        """Take it away again when the program maps the enclave no more."""
        for encl in self.process.mm.take_unmapped():
            base = self.process.aliased.pop(encl, None)
            if base is not None:
                self._add(OpKind.UNALIAS, base, base + 1)

    def plain_protect(self, gaps: Iterable[tuple[int, int]], prot: int) -> None:
        """Pass an mprotect on for the parts of a range that are not enclaves."""
        for start, end in gaps:
            self._add(OpKind.PROTECT, start, end, prot, flags=OpFlag.PLAIN)

    def say_again(self, driver: Driver, ops: Iterable[bytes]) -> None:
        """Add operations as they are by now: something that was said later came first.

        The process may have written anything there: it is its own mappings' harm.
        """
        for raw in ops:
            kind, _, start, end, *_, flags = _OP.unpack(raw)
            if kind == OpKind.PROTECT and not flags & OpFlag.PLAIN:
                low, high = start & -PAGE_SIZE, min(end, TASK_SIZE)
                self.protect(driver, low, -(-high // PAGE_SIZE) * PAGE_SIZE)
            else:
                self.is_mapping |= kind != OpKind.PROTECT
                self.ops.append(raw)

    def send(self, caller: Caller, address: int, context: bytes = b"") -> None:
        """Write the operations into the agent's answer; the rest waits for MOREOPS.

        *context* is what else the answer has, if anything, up to its end.
        """
        now, later = self.ops[:MAX_OPS], self.ops[MAX_OPS:]
        if later:
            self.process.pending[caller.tid] = later
        if not now:
            if context:
                caller.write(address, context)
            return
        more = bool(later)
        if self.is_mapping:
            # The agent says when it is done: it asks for more.
            more |= self.process.mm.tables.changes(caller.tid)
            self.process.mapping.setdefault(caller.tid, []).extend(self._mapped)
        secs = self.secs
        tail = _TAIL.pack(
            len(now),
            more,
            self.process.number(),
            int(secs.attributes.flags) if secs else 0,
            secs.attributes.xfrm if secs else 0,
            secs.ssaframesize if secs else 0,
            int(secs.miscselect) if secs else 0,
        )
        start = 0 if context else TAIL_OFFSET
        head = context[:TAIL_OFFSET]
        caller.write(address + start, b"".join((head, tail, *now)))

    def _add(
        self,
        kind: OpKind,
        start: int,
        end: int,
        prot: int = 0,
        offset: int = 0,
        flags: OpFlag = _NO_FLAGS,
    ) -> None:
        self.is_mapping |= kind != OpKind.PROTECT
        self.ops.append(_OP.pack(kind, prot, start, end, offset, 0, flags))


def said_ops(caller: Caller, address: int) -> list[bytes]:
    """Read the operations of an answer that an agent has; those on protections only."""
    raw = caller.read(address + TAIL_OFFSET, _TAIL.size + MAX_OPS * _OP.size)
    count = min(int.from_bytes(raw[:4], "little"), MAX_OPS)
    cut = range(_TAIL.size, _TAIL.size + count * _OP.size, _OP.size)
    ops = [raw[at : at + _OP.size] for at in cut]
    return [op for op in ops if _OP.unpack(op)[0] == OpKind.PROTECT]


def _flags(encl: Encl) -> OpFlag:
    flags = OpFlag.PRIVATE if encl.by_address else _NO_FLAGS
    return flags | (OpFlag.OUTSIDE if isinstance(encl, VepcFile) else _NO_FLAGS)
