"""The faults that a leaf function may raise.  SDM: "SGX Instruction References"."""

from typing import ClassVar

PFEC_P = 1 << 0
PFEC_W = 1 << 1
PFEC_U = 1 << 2
PFEC_I = 1 << 4
PFEC_SGX = 1 << 15
"""Bits of a page fault's error code.  SDM: "Page-Fault Exceptions"."""


class Fault(Exception):  # noqa: N818 -- the manual's word
    """A fault: the leaf had no effect; vector, error code and address tell which."""

    vector: ClassVar[int]
    mnemonic: ClassVar[str]

    def __init__(self, reason: str = "", *, error_code: int = 0, address: int = 0):
        super().__init__(reason)
        self.reason = reason
        self.error_code = error_code
        self.address = address

    def __str__(self) -> str:
        return f"{self.mnemonic}: {self.reason}" if self.reason else self.mnemonic


class InvalidOpcode(Fault):
    """#UD."""

    vector = 6
    mnemonic = "#UD"


class GeneralProtection(Fault):
    """#GP(0)."""

    vector = 13
    mnemonic = "#GP"


class PageFault(Fault):
    """#PF at an address, with the page fault error code's bits."""

    vector = 14
    mnemonic = "#PF"

    def __init__(self, address: int, error_code: int = 0, reason: str = ""):
        super().__init__(reason, error_code=error_code, address=address)

    def __str__(self) -> str:
        return f"#PF({self.error_code:#x}) at {self.address:#x}: {self.reason}"
