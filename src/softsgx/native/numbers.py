"""Where the agent lives and what it asks: the part of `abi` that every start needs."""

from enum import IntEnum

AGENT_BASE = 0x7E90_0000_0000
"""Where the agent lives in every process of the tree: an address that no loader,
sanitizer or stack limit was found to want."""
VDSO_OFFSET = 0x10000
RESTORER_OFFSET = 0x40
"""Where the agent's text takes handlers' returns from the vDSO image."""
DATA_OFFSET = 0x20000
FORK_OFFSET = 0x40000
AGENT_SIZE = 0x41000
"""Agent text (64 KiB), vDSO image (64 KiB), data (128 KiB), the wipe-on-fork page."""
BLOCKS_OFFSET = 0x100000
BLOCK_SIZE = 0x10000
BLOCKS = 4096
"""Thread blocks: state and signal stack of a thread that entered an enclave."""

CALL_NR = 0x5358
"""The agent's system call to the supervisor; Linux has no call of that number."""


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
