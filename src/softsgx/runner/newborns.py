"""Programs that begin under a debugger: how the agent gets in without ptrace.

A process has one tracer.  Where it is not us, the debugger's own agent says when it
lets its tracee go on after an execve.  Then a stub is written over the program's first
instructions: it maps the agent's memory and calls, as every new program does.
"""

import errno
import os
from dataclasses import dataclass, replace
from pathlib import Path

from softsgx.native import lib
from softsgx.native.abi import Config, ConfigFlag
from softsgx.native.numbers import (
    AGENT_BASE,
    AGENT_SIZE,
    CALL_NR,
    FORK_OFFSET,
    Call,
)
from softsgx.runner.task.caller import Caller
from softsgx.runner.task.threads import parent_of, pid_of, read_proc, tracer_of

_AT_BASE, _AT_ENTRY = 7, 9
_E_ENTRY_OFFSET = 24
_ELF64 = b"\x7fELF\x02"
_PROT_ALL = 7
_MAP_FLAGS = 0x100022
"""MAP_PRIVATE, MAP_ANONYMOUS and MAP_FIXED_NOREPLACE."""
_NR_MMAP = 9
_AT_START = 32
"""Bytes at the start of the entry's page that every injection puts back."""


def _stub() -> bytes:
    """Return code that maps the agent's memory, and calls from its first bytes."""

    def mov(opcode: bytes, value: int, size: int) -> bytes:
        return opcode + value.to_bytes(size, "little")

    return b"".join(
        (
            mov(b"\xb8", _NR_MMAP, 4),  # mov eax
            mov(b"\x48\xbf", AGENT_BASE, 8),  # mov rdi
            mov(b"\xbe", AGENT_SIZE, 4),  # mov esi
            mov(b"\xba", _PROT_ALL, 4),  # mov edx
            mov(b"\x41\xba", _MAP_FLAGS, 4),  # mov r10d
            b"\x49\x83\xc8\xff",  # or r8, -1
            b"\x45\x31\xc9",  # xor r9d, r9d
            b"\x0f\x05",  # syscall
            b"\x66\xc7\x07\x0f\x05",  # mov word [rdi], a syscall
            b"\x48\x89\xfd",  # mov rbp, rdi
            b"\x48\x89\xe6",  # mov rsi, rsp
            mov(b"\x48\x8d\xa7", FORK_OFFSET - 64, 4),  # lea rsp, [rdi + ...]
            mov(b"\xb8", CALL_NR, 4),
            mov(b"\xbf", Call.BORN, 4),  # mov edi
            b"\xff\xe5",  # jmp rbp
        )
    )


STUB = _stub()


@dataclass
class Newborn:
    """A process between its execve and its first instruction."""

    pid: int
    start: lib.Start
    """As far as it is known: signals, by the agent that was there before."""
    entry: int = 0
    covered: bytes = b""
    """What the stub stands over, from *entry* on; nothing: it is not there yet."""


class Newborns:
    """All of them, and those that will be, below the process *root*.

    *injector* is that of other programs.
    """

    def __init__(self, injector: lib.Injector, root: int):
        self._plain = injector
        self._root = root
        self._by_pid: dict[int, Newborn] = {}
        self._wants_tracer: dict[int, int] = {}
        """Children of vfork that asked for it, and when they were made."""

    def injector_of(self, tid: int) -> lib.Injector | None:
        """Return how a program that asked to be traced gets its agent, once."""
        made = self._wants_tracer.pop(tid, None)
        if made is None or made != _made_at(tid):
            return None
        return self._injector(ConfigFlag.BORN_TRACEME)

    def expect(self, caller: Caller) -> bool:
        """Expect an execve under another tracer; False: it is none of the tree."""
        tid = caller.tid
        tracer = tracer_of(tid)
        if not tracer or not _is_below(self._root, tracer):
            return False
        for gone in [pid for pid in self._by_pid if not Path(f"/proc/{pid}").exists()]:
            del self._by_pid[gone]
        pid = pid_of(tid)
        with caller.aside():
            start = self._plain.before(tid)
        if not caller.is_waiting():
            return False
        self._by_pid[pid] = Newborn(pid, start)
        return True

    def traceme(self, tid: int) -> None:
        """Have a child of vfork traced by its parent from its execve on."""
        self._wants_tracer[tid] = _made_at(tid)

    def tracee(self, caller: Caller, pid: int) -> tuple[bool, int]:
        """Say whether a debugger's tracee is about to begin, its stub in place.

        And the pid, if it is the first that is heard of its execve; 0.
        """
        newborn = self._by_pid.get(pid)
        if newborn is None:
            return False, 0
        if newborn.covered:
            return True, 0
        try:
            with caller.aside():
                if not _has_executed(pid):
                    return False, 0
                if _is_64_bit(pid):
                    self._cover(newborn, caller)
        except OSError:
            self._by_pid.pop(pid, None)
            return False, 0
        if not newborn.covered:
            self._by_pid.pop(pid, None)
        return bool(newborn.covered), pid

    def _cover(self, newborn: Newborn, caller: Caller) -> None:
        pid = newborn.pid
        newborn.entry = _first_instruction(pid)
        with Path(f"/proc/{pid}/mem").open("r+b", buffering=0) as memory:
            # The number may be another's by now, but not of whom our caller traces.
            if tracer_of(pid) != caller.tid or not caller.is_waiting():
                raise OSError(errno.ESRCH, "not the caller's tracee")
            covered = os.pread(memory.fileno(), len(STUB), newborn.entry)
            os.pwrite(memory.fileno(), STUB[: len(covered)], newborn.entry)
        newborn.covered = covered

    def born(self, caller: Caller, sp: int) -> tuple[lib.Injector, lib.Start]:
        """Return what puts the agent into a process that called from its stub.

        *sp*: its RSP.  OSError(ENOSYS): it made the call by itself.
        """
        newborn = self._by_pid.get(pid_of(caller.tid))
        if newborn is None or not newborn.covered:
            raise OSError(errno.ENOSYS, "it did not begin under a debugger")
        del self._by_pid[newborn.pid]
        page = newborn.entry & -4096
        with Path(f"/proc/{newborn.pid}/mem").open("r+b", buffering=0) as memory:
            caller.check()
            with caller.aside():
                os.pwrite(memory.fileno(), newborn.covered, newborn.entry)
                code = os.pread(memory.fileno(), _AT_START, page)
        start = newborn.start
        start.rip, start.rsp, start.pid = newborn.entry, sp, newborn.pid
        start.code[:] = _words(code)
        return self._injector(ConfigFlag.BORN_STOP), start

    def _injector(self, flags: ConfigFlag) -> lib.Injector:
        config = self._plain.config
        head = Config.from_bytes(config[: Config.SIZE])
        head = replace(head, flags=head.flags | int(flags | ConfigFlag.WATCHED))
        return lib.Injector(bytes(head) + config[Config.SIZE :])


def _is_below(root: int, tid: int) -> bool:
    """Say whether a process is an ancestor of a thread."""
    try:
        pid = pid_of(tid)
    except OSError:
        return False
    while pid > 1 and pid != root:
        pid = parent_of(pid)
    return pid == root


def _words(code: bytes) -> tuple[int, ...]:
    return tuple(
        int.from_bytes(code[at : at + 8], "little") for at in range(0, len(code), 8)
    )


def _made_at(tid: int) -> int:
    """Return when a thread was made, in ticks; its number may come again later."""
    try:
        text = read_proc(f"/proc/{tid}/stat")
    except OSError:
        return -1
    return int(text.rpartition(")")[2].split()[19])


def _has_executed(pid: int) -> bool:
    """Say whether the program that is there now is whole, and has no agent yet."""
    try:
        lib.read(pid, AGENT_BASE, 8)
    except OSError:
        # In the midst of an execve the memory is there before the program is.
        return _AT_ENTRY in _auxv(pid)
    return False


def _is_64_bit(pid: int) -> bool:
    with Path(f"/proc/{pid}/exe").open("rb") as file:
        return file.read(len(_ELF64)) == _ELF64


def _auxv(pid: int) -> dict[int, int]:
    words = _words(Path(f"/proc/{pid}/auxv").read_bytes())
    return dict(zip(words[::2], words[1::2], strict=True))


def _first_instruction(pid: int) -> int:
    """Return where the kernel starts a program: in its loader, or in itself."""
    auxv = _auxv(pid)
    base = auxv.get(_AT_BASE, 0)
    if not base:
        return auxv[_AT_ENTRY]
    offset = lib.read(pid, base + _E_ENTRY_OFFSET, 8)
    return base + int.from_bytes(offset, "little")
