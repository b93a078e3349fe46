"""Extended state in the standard format of XSAVE: what AEX saves and ERESUME loads.

SDM: "Managing State Using the XSAVE Feature Set".  An area is 512 legacy bytes, a
header of 64, then each further state component where the processor's CPUID leaf 0DH
puts it.  Nothing here decides; the callers check first, then move bytes.

The table of the synthetic state prints 1FB0H for MXCSR where its text asks for the INIT
state, which is 1F80H: a misprint, so INIT it is.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from softsgx.arch.faults import GeneralProtection
from softsgx.arch.secs import XFRM_SSE, XFRM_X87

LEGACY_SIZE = 512
HEADER_SIZE = 64
AREA_MIN_SIZE = LEGACY_SIZE + HEADER_SIZE
"""Bytes of an area that holds x87 and SSE only."""

FCW_INIT = 0x037F
FCW_AFTER_MF = 0x037E
FSW_AFTER_MF = 0x8081
MXCSR_INIT = 0x1F80
MXCSR_AFTER_XM = 0x1F01
MXCSR_MASK_DEFAULT = 0xFFBF
"""SDM: "GPR, x87 Synthetic States on Asynchronous Enclave Exit"."""

_MXCSR_OFFSET = 24
_XSTATE_BV_OFFSET = 512
_XCOMP_BV_OFFSET = 520
_HEADER_RESERVED_END = 536

_Region = tuple[int, int]

_LEGACY: dict[int, tuple[_Region, ...]] = {
    0: ((0, 24), (32, 160)),
    1: ((160, 416),),
}
_X87_INIT = FCW_INIT.to_bytes(2, "little") + bytes(22)


@dataclass(frozen=True)
class XsaveLayout:
    """Offset and size in bytes of each component above SSE, from CPUID leaf 0DH."""

    components: tuple[tuple[int, int, int], ...]
    """Triples of component number, offset and size."""

    def size(self, xfrm: int) -> int:
        """Return the bytes of an area that holds the components of *xfrm*."""
        ends = [
            offset + size
            for component, offset, size in self.components
            if xfrm >> component & 1
        ]
        return max(ends, default=AREA_MIN_SIZE)

    def regions(self, xfrm: int) -> Iterator[tuple[int, int, int]]:
        """Yield the component, start and end of every run of bytes in *xfrm*."""
        for component, regions in _LEGACY.items():
            if xfrm >> component & 1:
                for start, end in regions:
                    yield component, start, end
        for component, offset, size in self.components:
            if xfrm >> component & 1:
                yield component, offset, offset + size


INTEL_LAYOUT = XsaveLayout(
    (
        (2, 576, 256),
        (3, 960, 64),
        (4, 1024, 64),
        (5, 1088, 64),
        (6, 1152, 512),
        (7, 1664, 1024),
        (9, 2688, 8),
        (17, 2752, 64),
        (18, 2816, 8192),
    )
)
"""The layout of Intel's processors; others differ, and their CPUID says how."""


def xstate_bv(area: bytes | bytearray | memoryview) -> int:
    """Return the header's map of components that are not in their INIT state."""
    return int.from_bytes(area[_XSTATE_BV_OFFSET : _XSTATE_BV_OFFSET + 8], "little")


def xsave(layout: XsaveLayout, xfrm: int, state: bytearray, area: bytearray) -> None:
    """Save the components of *xfrm* as AEX does, clearing XSTATE_BV beyond them.

    SDM: "AEX Operational Detail".
    """
    in_use = xstate_bv(state) & xfrm
    _move(layout, xfrm, in_use, (state, area))
    area[_MXCSR_OFFSET : _MXCSR_OFFSET + 8] = state[_MXCSR_OFFSET : _MXCSR_OFFSET + 8]
    area[_XSTATE_BV_OFFSET:_XCOMP_BV_OFFSET] = in_use.to_bytes(8, "little")
    area[_XCOMP_BV_OFFSET:_HEADER_RESERVED_END] = bytes(16)


def check_xrstor(xfrm: int, area: bytes | bytearray, state: bytearray) -> None:
    """Raise #GP if XRSTOR of *area* under *xfrm* would.  SDM: "Operation of XRSTOR"."""
    if any(area[_XCOMP_BV_OFFSET:_HEADER_RESERVED_END]):
        raise GeneralProtection("bytes 8 to 23 of the XSAVE header are not zero")
    if xstate_bv(area) & ~xfrm:
        raise GeneralProtection("XSTATE_BV is not a subset of XFRM")
    if _mxcsr(area) & ~_mxcsr_mask(state):
        raise GeneralProtection("reserved bits of MXCSR are set")


def xrstor(
    layout: XsaveLayout, xfrm: int, area: bytes | bytearray, state: bytearray
) -> None:
    """Load the components of *xfrm*; those not in XSTATE_BV go to INIT."""
    in_use = xstate_bv(area) & xfrm
    _move(layout, xfrm, in_use, (area, state))
    state[_MXCSR_OFFSET : _MXCSR_OFFSET + 4] = area[_MXCSR_OFFSET : _MXCSR_OFFSET + 4]
    _set_in_use(state, xfrm, in_use)


def load_synthetic_state(
    layout: XsaveLayout, xfrm: int, state: bytearray, vector: int
) -> None:
    """Put the components of *xfrm* into the state that an AEX leaves behind.

    SDM: "Synthetic State on Asynchronous Enclave Exit".
    """
    _move(layout, xfrm, 0, (state, state))
    in_use = 0
    mxcsr = MXCSR_INIT
    if vector == 16:
        state[0:2] = FCW_AFTER_MF.to_bytes(2, "little")
        state[2:4] = FSW_AFTER_MF.to_bytes(2, "little")
        in_use = XFRM_X87
    elif vector == 19:
        mxcsr = MXCSR_AFTER_XM
        in_use = XFRM_SSE
    state[_MXCSR_OFFSET : _MXCSR_OFFSET + 4] = mxcsr.to_bytes(4, "little")
    _set_in_use(state, xfrm, in_use)


def _move(
    layout: XsaveLayout,
    xfrm: int,
    in_use: int,
    ends: tuple[bytes | bytearray, bytearray],
) -> None:
    """Copy the components of *in_use* from one area to another, INIT for the rest."""
    source, target = ends
    for component, start, end in layout.regions(xfrm):
        if in_use >> component & 1:
            target[start:end] = source[start:end]
        elif start == 0:
            target[start:end] = _X87_INIT
        else:
            target[start:end] = bytes(end - start)


def _set_in_use(state: bytearray, xfrm: int, in_use: int) -> None:
    value = (xstate_bv(state) & ~xfrm) | (in_use & xfrm)
    state[_XSTATE_BV_OFFSET:_XCOMP_BV_OFFSET] = value.to_bytes(8, "little")


def _mxcsr(area: bytes | bytearray) -> int:
    return int.from_bytes(area[_MXCSR_OFFSET : _MXCSR_OFFSET + 4], "little")


def _mxcsr_mask(state: bytearray) -> int:
    mask = int.from_bytes(state[_MXCSR_OFFSET + 4 : _MXCSR_OFFSET + 8], "little")
    return mask or MXCSR_MASK_DEFAULT
