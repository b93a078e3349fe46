"""The memory of enclaves, as a debugger in the tree asks for it through its agent.

Linux's device reads and writes the memory of debug enclaves for ptrace, by EDBGRD and
EDBGWR, and refuses that of others.
"""

import errno
from collections.abc import Callable

from softsgx.arch.addr import PAGE_SIZE
from softsgx.driver.access import access
from softsgx.driver.driver import Driver
from softsgx.driver.mm import Vma
from softsgx.native.numbers import MEMORY_UP_TO, Call
from softsgx.runner.answers import NOT_OURS
from softsgx.runner.code.enclave_code import EnclaveCode
from softsgx.runner.task.caller import Caller
from softsgx.runner.task.threads import tracer_of
from softsgx.runner.tree import Tree

CALLS = frozenset({Call.PEEK, Call.POKE, Call.MEMORY})
"""The agent's calls that are answered here."""

_WORD = 8
_U64 = (1 << 64) - 1


class Memory:
    """Answers them for one tree."""

    def __init__(self, tree: Tree, driver: Driver, code: EnclaveCode):
        self._tree = tree
        self._driver = driver
        self._code = code
        self._handlers: dict[int, Callable[[Caller, tuple[int, ...]], int]] = {
            Call.PEEK: self._peek,
            Call.POKE: self._poke,
            Call.MEMORY: self._memory,
        }

    def carry_out(self, caller: Caller, args: tuple[int, ...]) -> int:
        """Return the value of one of `CALLS`; OSError has its errno."""
        return self._handlers[args[0]](caller, args)

    def _peek(self, caller: Caller, args: tuple[int, ...]) -> int:
        """Read a word into the debugger's memory: args are pid, address, where to."""
        pid, address, to = args[1:4]
        word, pieces = b"", self._enclaves(caller.tid, pid, address)
        for vma, at, size in pieces:
            # Its agent reads the code at a stop itself, if only it is there.
            for place in (at, at + size - 1):
                self._driver.resident(vma.encl, place)
        for vma, at, size in pieces:
            word += self._read(vma, at, size)
        caller.write(to, word)
        return 0

    def _poke(self, caller: Caller, args: tuple[int, ...]) -> int:
        """Write a word: args are pid, address, value."""
        pid, address, value = args[1:4]
        data = (value & _U64).to_bytes(_WORD, "little")
        pieces = list(self._enclaves(caller.tid, pid, address))
        for vma, at, size in pieces:
            # Nothing is written unless all of it can be.
            self._read(vma, at, size)
        for vma, at, size in pieces:
            self._write(vma, at, data[at - address :][:size])
        return 0

    def _memory(self, caller: Caller, args: tuple[int, ...]) -> int:
        """Read or write up to a page's end: pid, address, size, buffer, writes."""
        address, size, buffer, writes = args[2:6]
        # What is to be written comes first: meanwhile mappings may change.
        size = min(size, PAGE_SIZE - address % PAGE_SIZE)
        data = caller.read(buffer, size) if writes and self._first(args) else b""
        vma = self._first(args)
        if vma is None:
            raise OSError(NOT_OURS, "no enclave there")
        if address < vma.start:
            return MEMORY_UP_TO + vma.start - address
        size = min(size, vma.end - address)
        if writes:
            self._write(vma, address, data[:size])
        else:
            caller.write(buffer, self._read(vma, address, size))
        return size

    def _first(self, args: tuple[int, ...]) -> Vma | None:
        """Return the first enclave mapping in a process's range: pid, address, size."""
        pid, address, size = args[1:4]
        process = self._tree.known(pid)
        vmas = process.mm.overlapping(address, address + size) if process else ()
        return next(iter(vmas), None)

    def _write(self, vma: Vma, at: int, data: bytes) -> None:
        data = self._code.patched(vma.encl, at, data)
        self._access(vma, at, len(data), data)

    def _read(self, vma: Vma, at: int, size: int) -> bytes:
        data = self._access(vma, at, size)
        return self._code.original(vma.encl, at, data)

    def _access(self, vma: Vma, at: int, size: int, data: bytes = b"") -> bytes:
        try:
            return access(self._driver, vma, at, size, data)
        except OSError as error:
            # All that ptrace says of memory that it cannot reach.
            raise OSError(errno.EIO, "not accessible") from error

    def _enclaves(self, tid: int, pid: int, address: int) -> list[tuple[Vma, int, int]]:
        """Return the enclave mappings that a word lies in, and which bytes of it."""
        process = self._tree.known(pid)
        end = address + _WORD
        vmas = list(process.mm.overlapping(address, end)) if process else []
        if not vmas:
            raise OSError(NOT_OURS, "no enclave there")
        if tracer_of(pid) != tid:
            raise OSError(errno.ESRCH, "not its tracer")
        pieces = [
            (vma, max(vma.start, address), min(vma.end, end) - max(vma.start, address))
            for vma in vmas
        ]
        if sum(size for _, _, size in pieces) != _WORD:
            raise OSError(errno.EIO, "enclave and other memory in one word")
        return pieces
