"""Single integer fields of a structure that lives in memory; its other bytes stay."""

from typing import NamedTuple, Self

from softsgx.arch.layout import Layout
from softsgx.arch.ssa import Gprsgx
from softsgx.arch.tcs import Tcs


class Field(NamedTuple):
    """Where an integer field lies in its structure, both in bytes."""

    offset: int
    size: int

    @classmethod
    def of(cls, layout: type[Layout], name: str) -> Self:
        """Return the field of that name."""
        cell = next(cell for cell in layout.cells() if cell.name == name)
        return cls(cell.offset, cell.size)

    def read(self, memory: bytes | memoryview) -> int:
        """Return the field of the structure at the start of *memory*."""
        return int.from_bytes(memory[self.offset : self.offset + self.size], "little")

    def write(self, memory: memoryview, value: int) -> None:
        """Write the field of the structure at the start of *memory*."""
        raw = value.to_bytes(self.size, "little")
        memory[self.offset : self.offset + self.size] = raw


TCS_STAGE = Field.of(Tcs, "stage")
TCS_CSSA = Field.of(Tcs, "cssa")
TCS_AEP = Field.of(Tcs, "aep")
TCS_OWNER = Field(TCS_STAGE.offset + 4, 4)
"""The upper half of STAGE is ours: whose thread is inside, by the runner's numbers."""
GPRSGX_URSP = Field.of(Gprsgx, "ursp")
GPRSGX_URBP = Field.of(Gprsgx, "urbp")
GPRSGX_RFLAGS = Field.of(Gprsgx, "rflags")
GPRSGX_EXITINFO = Field.of(Gprsgx, "exitinfo")
GPRSGX_AEXNOTIFY = Field.of(Gprsgx, "aexnotify")
"""The fields that entries and exits look at one by one."""

GPRSGX_REGS = tuple(
    (name, Field.of(Gprsgx, name))
    for name in (
        *("rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi"),
        *("r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"),
        *("rip", "rflags", "fsbase", "gsbase"),
    )
)
"""The registers that GPRSGX holds, under their own names."""
