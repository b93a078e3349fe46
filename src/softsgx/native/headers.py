"""Print the C header of what Python and C agree on (`native/include/gen_abi.h`)."""

import sys
from collections.abc import Iterator
from enum import IntEnum, IntFlag

from softsgx.arch.layout import Layout
from softsgx.arch.leaves import Enclu
from softsgx.arch.secinfo import PageType
from softsgx.arch.ssa import Exinfo, Gprsgx
from softsgx.arch.tcs import Tcs
from softsgx.native import abi, numbers

_CONSTANTS = (
    *((numbers, name) for name in vars(numbers) if name.isupper()),
    *((abi, name) for name in ("MAX_OPS", "MAX_OVERLAYS", "MAX_SITES")),
    (abi, "MAX_BARE"),
    *((abi, name) for name in ("MAX_MASKED", "MASKED_OFFSET", "MAX_LISTED", "LATE_NR")),
    (abi, "ANY_INODE"),
)
_ENUMS: tuple[type[IntEnum] | type[IntFlag], ...] = (
    numbers.Call,
    abi.ConfigFlag,
    abi.Outcome,
    abi.Trap,
    abi.Debug,
    abi.OpKind,
    abi.OpFlag,
    PageType,
    Enclu,
)
_STRUCTS: tuple[type[Layout], ...] = (
    abi.Op,
    abi.Context,
    abi.Overlay,
    abi.Masked,
    abi.Listed,
    abi.Bare,
    abi.Tally,
    abi.Config,
    abi.Handed,
)
_OFFSETS: tuple[type[Layout], ...] = (Tcs, Gprsgx, Exinfo)
_C_TYPES = {1: "uint8_t", 2: "uint16_t", 4: "uint32_t", 8: "uint64_t"}


def _struct(kind: type[Layout]) -> Iterator[str]:
    name = kind.__name__.lower()
    edge, pads = 0, 0
    yield f"struct abi_{name} {{"
    for cell in kind.cells():
        if cell.offset > edge:
            yield f"\tuint8_t pad{pads}[{cell.offset - edge}];"
            pads += 1
        yield f"\t{_C_TYPES[cell.size]} {cell.name};"
        edge = cell.end
    if edge < kind.SIZE:
        yield f"\tuint8_t pad{pads}[{kind.SIZE - edge}];"
    yield "};"
    yield f'_Static_assert(sizeof(struct abi_{name}) == {kind.SIZE}, "{name}");'
    for cell in kind.cells():
        field = f"offsetof(struct abi_{name}, {cell.name})"
        yield f'_Static_assert({field} == {cell.offset}, "{name}.{cell.name}");'


def _lines() -> Iterator[str]:
    yield "/* Generated from softsgx.native.abi and softsgx.arch: do not edit. */"
    yield "#pragma once"
    for module, name in _CONSTANTS:
        yield f"#define {name} {getattr(module, name):#x}"
    for kind in _ENUMS:
        prefix = kind.__name__.upper()
        for member in kind:
            yield f"#define {prefix}_{member.name} {member.value:#x}"
    for layout in _OFFSETS:
        prefix = layout.__name__.upper()
        yield f"#define {prefix}_SIZE {layout.SIZE}"
        for cell in layout.cells():
            yield f"#define {prefix}_{cell.name.upper()} {cell.offset}"
    yield "#ifndef __ASSEMBLER__"
    yield "#include <stddef.h>"
    yield "#include <stdint.h>"
    for struct in _STRUCTS:
        yield from _struct(struct)
    yield "#endif"


def render() -> str:
    """Return the header's text."""
    return "\n".join(_lines()) + "\n"


if __name__ == "__main__":
    sys.stdout.write(render())
