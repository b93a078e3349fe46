"""What the supervisor and the agent agree on: addresses, calls, structures.

The agent is C inside a program that may be hostile; the supervisor is Python outside
it.  Everything they say to each other is written down here once.  The header
`gen_abi.h` is generated from this file and from `softsgx.arch`, and the C side
asserts each offset again.
"""

import struct
from enum import IntEnum, IntFlag

from softsgx.arch.layout import Layout, at


class ConfigFlag(IntFlag):
    """Bits of the agent's configuration."""

    EXACT = 1
    PATCH = 2
    CPUID_FAULTING = 16
    REWRITE_CPUID = 32
    NO_RDTSC = 64
    """RDTSC and RDTSCP are undefined inside: a processor without SGX2."""
    KEEP_DUMPABLE = 128
    WATCHED = 256
    """It began under a debugger: its sites raise SIGSEGV, which stays unblocked."""
    BORN_STOP = 512
    """Stop for the debugger's agent when all is in place."""
    BORN_TRACEME = 1024
    """Become the parent's tracee then, as the program asked before its execve."""


class Outcome(IntEnum):
    """What an answered ENCLU, FAULT or AEX call means for the thread."""

    LOAD = 0
    """Load the registers of the context and go on."""
    FAULT = 1
    """The instruction faults: vector, error, address and signal are in the context."""
    RETRY = 2
    """Carry out the operations, then run the instruction again."""
    ABORT = 3
    """Host code touched an enclave's page: it reads ones, and writes nothing."""
    WAIT = 4
    """Leave the enclave as by an interrupt; later run the instruction again."""


class Trap(IntEnum):
    """What a breakpoint that an enclave's thread met is."""

    FOREIGN = 0
    """None of ours."""
    FORBIDDEN = 1
    """It stands for an instruction that is #UD."""
    AGAIN = 2
    """It is gone: run the instruction there."""
    WAIT = 3
    """Another thread handles the instruction: ask again."""


class Debug(IntFlag):
    """Bits of Context.debug: what hardware keeps of a thread inside about TF."""

    SAVE_TF = 1
    """RFLAGS.TF at an opt-out entry."""
    OPT_IN = 2
    """The entry was by a TCS with DBGOPTIN."""
    PENDING = 4
    """From the model: a single-step #DB follows the instruction."""


class OpKind(IntEnum):
    """What the agent is to do to the program's address space."""

    PROTECT = 1
    MAP = 2
    UNALIAS = 3
    ENCLAVE = 4


class OpFlag(IntFlag):
    """Bits of Op.flags."""

    PRIVATE = 1
    """A child of fork does not have it."""
    OUTSIDE = 2
    """EPC that no enclave is in: host code always finds ones there."""
    PLAIN = 4
    """Memory that is no enclave's: only the program says what it may do there."""


class Op(Layout, size=40):
    """One operation on the address space.

    *fd* is the agent's: what the call returned, to map memory by.
    """

    kind: int = at(0, 4)
    prot: int = at(4, 4)
    start: int = at(8, 8)
    end: int = at(16, 8)
    offset: int = at(24, 8)
    fd: int = at(32, 4)
    flags: int = at(36, 4)


MAX_OPS = 24
"""Operations that fit in one answer; the agent asks for the rest with MOREOPS."""


# fmt: off
class Context(Layout, size=288):
    """A thread at an ENCLU, a fault or an exit: sent, judged, and sent back.

    *said*: what the supervisor says to a process about its mappings is numbered.
    """

    rax:      int = at(  0, 8)
    rbx:      int = at(  8, 8)
    rcx:      int = at( 16, 8)
    rdx:      int = at( 24, 8)
    rsi:      int = at( 32, 8)
    rdi:      int = at( 40, 8)
    rbp:      int = at( 48, 8)
    rsp:      int = at( 56, 8)
    r8:       int = at( 64, 8)
    r9:       int = at( 72, 8)
    r10:      int = at( 80, 8)
    r11:      int = at( 88, 8)
    r12:      int = at( 96, 8)
    r13:      int = at(104, 8)
    r14:      int = at(112, 8)
    r15:      int = at(120, 8)
    rip:      int = at(128, 8)
    rflags:   int = at(136, 8)
    fsbase:   int = at(144, 8)
    gsbase:   int = at(152, 8)
    inside:   int = at(160, 4)
    debug:    int = at(164, 4)
    tcs:      int = at(168, 8)
    aep:      int = at(176, 8)
    savefs:   int = at(184, 8)
    savegs:   int = at(192, 8)
    xsave:    int = at(200, 8)
    xsavesize: int = at(208, 8)
    xcr0:     int = at(216, 8)
    vector:   int = at(224, 4)
    error:    int = at(228, 4)
    address:  int = at(232, 8)
    signo:    int = at(240, 4)
    sicode:   int = at(244, 4)
    outcome:  int = at(248, 4)
    nops:     int = at(252, 4)
    more:     int = at(256, 4)
    said:     int = at(260, 4)
    attributes: int = at(264, 8)
    xfrm:     int = at(272, 8)
    ssaframesize: int = at(280, 4)
    miscselect: int = at(284, 4)


class Overlay(Layout, size=48):
    """A change to what CPUID says, leaves *leaf* to *last*: native AND keep, OR add."""

    leaf:     int = at( 0, 4)
    subleaf:  int = at( 4, 4)
    anysub:   int = at( 8, 4)
    keep_eax: int = at(12, 4)
    keep_ebx: int = at(16, 4)
    keep_ecx: int = at(20, 4)
    keep_edx: int = at(24, 4)
    add_eax:  int = at(28, 4)
    add_ebx:  int = at(32, 4)
    add_ecx:  int = at(36, 4)
    add_edx:  int = at(40, 4)
    last:     int = at(44, 4)


class Masked(Layout, size=32):
    """Fault signals that a thread believes to have blocked, and those that wait."""

    tid:      int = at( 0, 4)
    fsbase:   int = at( 8, 8)
    blocked:  int = at(16, 8)
    pending:  int = at(24, 8)


ANY_INODE = (1 << 64) - 1
"""In Listed.ino: any directory of the device."""


class Listed(Layout, size=16):
    """A directory of this machine that has more entries for the program."""

    dev:      int = at( 0, 8)
    ino:      int = at( 8, 8)


class Tally(Layout, size=64):
    """What was counted natively at a TCS: EENTERs, EEXITs, asynchronous exits.

    *tid* was let in last, as the program numbers threads.  Each page has one, behind
    the EPCM words; of the first page's *era* see `SharedMemory.new_era`.
    """

    entries:  int = at( 0, 8)
    exits:    int = at( 8, 8)
    aex:     int = at(16, 8)
    tid:      int = at(24, 4)
    era:      int = at(32, 4)


class Bare(Layout, size=40):
    """A file whose code has no CPUID, by what tells its content; times in ns."""

    dev:      int = at( 0, 8)
    ino:      int = at( 8, 8)
    mtime:    int = at(16, 8)
    ctime:    int = at(24, 8)
    size:     int = at(32, 8)


class Config(Layout, size=72):
    """The head of the agent's data, written when it is injected.

    Behind it: overlays, four words, directories, CPUIDs, files without any; see the
    agent's.  Begins at *entry*; *blocked*, *pending*, *filtered* survive an execve.
    """

    flags:    int = at( 0, 4)
    overlays: int = at( 4, 4)
    shmdev:   int = at( 8, 8)
    tier:     int = at(16, 4)
    sites:    int = at(20, 4)
    blocked:  int = at(24, 8)
    pending:  int = at(32, 8)
    masked:   int = at(40, 4)
    filtered: int = at(44, 4)
    entry:    int = at(48, 8)
    stack:    int = at(56, 8)
    pid:      int = at(64, 4)
    bare:     int = at(68, 4)


class Handed(Layout, size=40):
    """A run that began without Python, when it goes on with it: see native/start.

    Behind it: calls, as they were received; starts; the agent's configuration.
    """

    pid:         int = at( 0, 4)
    has_ended:   int = at( 4, 4)
    status:      int = at( 8, 4)
    listener:    int = at(12, 4)
    errors:      int = at(16, 4)
    rewrite:     int = at(20, 4)
    calls:       int = at(24, 4)
    starts:      int = at(28, 4)
    config_size: int = at(32, 4)
# fmt: on

MAX_OVERLAYS = 104
MAX_LISTED = 12
LATE_NR = 0x5359
"""The call by which the agent's own text says that a path was not found."""
MAX_MASKED = 1024
"""Threads that may have fault signals blocked at a time; the agent forgets the rest."""
MAX_SITES = 256
"""Rewritten CPUIDs that the agent is told of when it begins, at most."""
MAX_BARE = 48
"""Files about which the agent need not ask when it maps their code."""

MASKED_OFFSET = (
    Config.SIZE
    + MAX_OVERLAYS * Overlay.SIZE
    + 4 * 8
    + MAX_LISTED * Listed.SIZE
    + MAX_SITES * 8
    + MAX_BARE * Bare.SIZE
)
"""Where the agent's data hold MAX_MASKED masks, if Config.masked is not 0."""

_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}


def packer(kind: type[Layout], first: str = "") -> tuple[int, struct.Struct]:
    """Return the offset of a layout's field *first*, and a Struct from there on.

    For structures of integers that are read or written too often for Layout's care.
    """
    cells = kind.cells()
    names = [cell.name for cell in cells]
    cells = cells[names.index(first) :] if first else cells
    begin = edge = cells[0].offset
    form = "<"
    for cell in cells:
        form += f"{cell.offset - edge}x{_CODES[cell.size]}"
        edge = cell.end
    return begin, struct.Struct(f"{form}{kind.SIZE - edge}x")
