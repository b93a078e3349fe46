"""SGX for gdb: `softsgx debug` has gdb source this file, in gdb's own Python.

It loads the symbols of enclaves at their base, walks a backtrace from an enclave to the
host that entered it, and adds the commands `sgx enclaves`, `sgx tcs` and `sgx ssa`.
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gdb

# gdb has no such path itself.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.ssa import Gprsgx
from softsgx.arch.tcs import (
    SGX_TCS_LIMIT,
    Tcs,
    TcsFlags,
)
from softsgx.cli.gdb_agent import (
    Enclave,
    enclave_at,
    enclaves,
    inside_threads,
    read,
)
from softsgx.cli.gdb_symbols import Building, Entering, Symbols

_VECTORS = {
    0: "#DE",
    1: "#DB",
    3: "#BP",
    5: "#BR",
    6: "#UD",
    13: "#GP",
    14: "#PF",
    16: "#MF",
    17: "#AC",
    19: "#XM",
    21: "#CP",
}


# ---- from an enclave to its host ----


class _Crossing:
    """The host's frame behind the last one of an enclave that gdb can walk."""

    name = "sgx"
    enabled = True

    def __call__(self, pending: Any) -> Any:  # noqa: ANN401 -- gdb has no types
        rip = int(pending.read_register("rip")) & (1 << 64) - 1
        enclave = enclave_at(rip) if rip else None
        if enclave is None or _has_unwind_info(rip):
            return None
        thread = gdb.selected_thread()
        tid = thread.ptid[1] if thread else 0
        entered = next((one for one in inside_threads() if one.tid == tid), None)
        if entered is None or not enclave.covers(entered.tcs):
            return None
        sp = pending.read_register("rsp")
        pc = pending.read_register("rip")
        info = pending.create_unwind_info(_FrameId(sp, pc))
        for name, value in (
            ("rip", entered.aep),
            ("rsp", entered.ursp),
            ("rbp", entered.urbp),
        ):
            info.add_saved_register(name, gdb.Value(value).cast(sp.type))
        return info


@dataclass(frozen=True)
class _FrameId:
    sp: Any
    pc: Any


def _has_unwind_info(rip: int) -> bool:
    """Say whether gdb knows the function: what was written in C has its table."""
    place = gdb.find_pc_line(rip)
    return place.symtab is not None and not place.symtab.filename.endswith((".S", ".s"))


# ---- commands ----


class _Sgx(gdb.Command):
    """Enclaves of the program: sgx enclaves, sgx tcs [ADDRESS], sgx ssa [TCS]."""

    def __init__(self) -> None:
        super().__init__("sgx", gdb.COMMAND_DATA, prefix=True)


class _Enclaves(gdb.Command):
    """The enclaves of the program, and the threads that are inside."""

    def __init__(self) -> None:
        super().__init__("sgx enclaves", gdb.COMMAND_DATA)

    def invoke(self, argument: str, from_tty: bool) -> None:  # noqa: FBT001 -- gdb's
        """Print one line for each."""
        del argument, from_tty
        for one in enclaves():
            kind = "debug" if one.is_debug else "production: nobody looks inside"
            frames = f"SSAFRAMESIZE {one.ssaframesize}"
            print(f"{one.base:#x}  {one.size:#x} bytes  {frames}  ({kind})")
        for thread in inside_threads():
            print(f"  thread {thread.tid} is inside, by the TCS {thread.tcs:#x}")


def _debuggable(address: int) -> Enclave:
    enclave = enclave_at(address)
    if enclave is None:
        raise gdb.GdbError(f"no enclave at {address:#x}")
    if not enclave.is_debug:
        raise gdb.GdbError("a production enclave: nobody looks inside")
    return enclave


def _tcs(address: int) -> Tcs:
    raw = b"".join(read(address + at, 8) for at in range(0, SGX_TCS_LIMIT, 8))
    return Tcs.from_bytes(raw.ljust(PAGE_SIZE, b"\0"))


def _address(argument: str) -> int:
    """Return the TCS that is asked about: by itself the selected thread's."""
    if argument.strip():
        return int(gdb.parse_and_eval(argument)) & (1 << 64) - 1
    thread = gdb.selected_thread()
    tid = thread.ptid[1] if thread else 0
    for one in inside_threads():
        if one.tid == tid:
            return one.tcs
    raise gdb.GdbError("the thread is not inside: name the address of a TCS")


class _TcsCommand(gdb.Command):
    """A TCS in words: sgx tcs [ADDRESS]; the selected thread's by itself."""

    def __init__(self) -> None:
        super().__init__("sgx tcs", gdb.COMMAND_DATA)

    def invoke(self, argument: str, from_tty: bool) -> None:  # noqa: FBT001 -- gdb's
        """Print its fields."""
        del from_tty
        address = _address(argument)
        enclave = _debuggable(address)
        tcs = _tcs(address)
        busy = any(one.tcs == address for one in inside_threads())
        opted = "may" if tcs.flags & TcsFlags.DBGOPTIN else "may not"
        print(f"TCS {address:#x}: {'a thread is inside' if busy else 'idle'}")
        print(f"  enters at   {enclave.base + tcs.oentry:#x}")
        print(f"  state saved {tcs.cssa} times of {tcs.nssa} (CSSA, NSSA)")
        print(f"  frames at   {enclave.base + tcs.ossa:#x}")
        print(f"  FS, GS      {tcs.ofsbasgx:#x}, {tcs.ogsbasgx:#x} from the base")
        print(f"  exits to    {tcs.aep:#x} (AEP)")
        print(f"  a debugger {opted} step (DBGOPTIN)")


class _Ssa(gdb.Command):
    """The newest frame of a TCS's state save area in words: sgx ssa [TCS]."""

    def __init__(self) -> None:
        super().__init__("sgx ssa", gdb.COMMAND_DATA)

    def invoke(self, argument: str, from_tty: bool) -> None:  # noqa: FBT001 -- gdb's
        """Print its registers, and why they are there."""
        del from_tty
        address = _address(argument)
        enclave = _debuggable(address)
        tcs = _tcs(address)
        if not tcs.cssa:
            print(f"TCS {address:#x}: nothing is saved (CSSA is 0)")
            return
        size = enclave.ssaframesize * PAGE_SIZE
        frame = enclave.base + tcs.ossa + (tcs.cssa - 1) * size
        gpr = Gprsgx.from_bytes(read(frame + size - Gprsgx.SIZE, Gprsgx.SIZE))
        why = "an interrupt"
        if gpr.exitinfo & gpr.exitinfo.VALID:
            vector = gpr.exitinfo.vector
            why = _VECTORS.get(vector, f"vector {vector}")
        print(f"frame {tcs.cssa - 1} at {frame:#x}, saved by {why}")
        for name in (*_REGISTERS, "rflags", "fsbase", "gsbase", "ursp", "urbp"):
            print(f"  {name:7} {getattr(gpr, name):#x}")


_REGISTERS = (
    *("rip", "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp"),
    *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"),
)


def install() -> None:
    """Put all of it into gdb; $SOFTSGX_SYMBOLS names ELF files, by colons."""
    import gdb.unwinder  # noqa: PLC0415 -- a part of gdb's own

    named = os.environ.get("SOFTSGX_SYMBOLS", "")
    symbols = Symbols([Path(name) for name in named.split(":") if name])
    for command in (_Sgx, _Enclaves, _TcsCommand, _Ssa):
        command()
    gdb.unwinder.register_unwinder(None, _Crossing(), replace=True)
    gdb.events.stop.connect(lambda _: symbols.look())
    gdb.execute("set breakpoint pending on")
    Building(symbols, Entering(symbols))


install()
