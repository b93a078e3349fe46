"""Where the agent lives and what it asks: the part of `abi` that every start needs."""

from enum import IntEnum

AGENT_BASE = 0x7E90_0000_0000
"""Where the agent lives in every process of the tree: an address that no loader,
sanitizer or stack limit was found to want."""
VDSO_OFFSET = 0x18000
RESTORER_OFFSET = 0x40
"""Where the agent's text takes handlers' returns from the vDSO image."""
SHORTCUT_OFFSET = 0x80
SHORTCUT_CPUID_OFFSET = 0xC0
"""Where it takes calls and CPUIDs whose shortcuts lead there, see SHORTCUT."""
DATA_OFFSET = 0x20000
FORK_OFFSET = 0x40000
AGENT_SIZE = 0x41000
"""Agent text (92 KiB), a page of nothing, vDSO image, data, the wipe-on-fork page."""
BLOCKS_OFFSET = 0x100000
BLOCK_SIZE = 0x10000
BLOCKS = 4096
"""Thread blocks: state and signal stack of a thread that entered an enclave."""

CALL_NR = 0x5358
"""The agent's system call to the supervisor; Linux has no call of that number."""

WAITED_NR = CALL_NR + 2
"""A system call that is made only to get back into the agent, after a wait."""

WORD_LOST = 0x80
"""In place of each EPCM state word of an enclave whose supervisor is gone: of an entry
that is blocked and not valid, as the model has none."""

SHORTCUT = 1 << 56
SHORTCUT_SHIFT = 26
"""A place with this bit is a shortcut.  The low bits are the file offset of a call
about a path, or of a CPUID; the next four how many bytes give way, of a CPUID."""
SHORTCUT_STUB_SHIFT = SHORTCUT_SHIFT + 4
"""Above them is the file offset of the room for its stub, behind the code."""
SHORTCUT_SIZE = 40
"""Bytes of a stub."""

NOT_OURS_CODE = 4095
"""In place of an errno: this is none of softsgx's, the kernel is to do it."""
IN_PART_OURS_CODE = 4094
"""The kernel's too, but what it leads to is ours."""
NOT_IMPLEMENTED_CODE = 4093
"""ENOSYS for the program; as an answer that is what nobody gave."""

MEMORY_UP_TO = 1 << 62
"""Call.MEMORY's answer, plus bytes: so many are the kernel's, then comes an enclave."""


class Call(IntEnum):
    """First argument of the agent's system call: what it asks."""

    PATH = 1
    IOCTL = 2
    MMAP = 3
    MPROTECT = 4
    MUNMAP = 5
    ENCLU = 6
    FAULT = 7
    AEX = 8
    PATCH = 9
    SITE = 10
    FORKED = 11
    MOREOPS = 12
    TEXT = 13
    COVERS = 14
    START = 15
    """From a new program, before its first instruction: put the agent in."""
    TRAP = 16
    RESUMED = 17
    TRACEME = 18
    """From a child of vfork: have its parent trace it from its execve on."""
    TRACEE = 19
    """From a debugger: a tracee is about to go on; 1: it begins with a call."""
    BORN = 20
    """From such a new program, as START."""
    PEEK = 21
    POKE = 22
    """From a debugger: a word of a tracee's memory that may be an enclave's."""
    PAGES = 26
    """Here is a userfaultfd: what the process has of enclaves may be evicted."""
    MOVED = 27
    """What is mapped in a range was away: the userfaultfd does not know it any more."""
    MEMORY = 23
    """From who has /proc/PID/mem open: the same for a read or write of it."""
    CODE = 39
    """What an enclave has where a thread was: up to a page, of one that left."""
    HIDDEN = 24
    """How many bytes of enclave memory host code finds to be ones, or loses there."""
