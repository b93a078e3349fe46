"""The enclave's control structure and its attributes."""

from softsgx.arch.bits import Bits
from softsgx.arch.layout import Layout, at


class AttributeFlags(Bits):
    """ATTRIBUTES, bits 63:0.  SDM: "ATTRIBUTES"."""

    INIT = 1 << 0
    DEBUG = 1 << 1
    MODE64BIT = 1 << 2
    PROVISIONKEY = 1 << 4
    EINITTOKENKEY = 1 << 5
    CET = 1 << 6
    KSS = 1 << 7
    AEXNOTIFY = 1 << 10


class Miscselect(Bits):
    """Extended features whose state an AEX saves.  SDM: "SECS.MISCSELECT Field"."""

    EXINFO = 1 << 0
    CPINFO = 1 << 1


XFRM_X87 = 1 << 0
XFRM_SSE = 1 << 1
XFRM_AVX = 1 << 2
XFRM_LEGACY = XFRM_X87 | XFRM_SSE
"""XFRM bits 1:0, which every enclave must set."""


# fmt: off
class Attributes(Layout, size=16):
    """ATTRIBUTES, 16 bytes: flags and XFRM.  SDM: "ATTRIBUTES"."""

    flags:                 AttributeFlags = at(  0,   8)
    xfrm:                  int            = at(  8,   8)


class Secs(Layout, size=4096, align=4096):
    """An enclave's control structure.  SDM: "SGX Enclave Control Structure (SECS)"."""

    size:                  int        = at(  0,   8)
    baseaddr:              int        = at(  8,   8)
    ssaframesize:          int        = at( 16,   4)
    miscselect:            Miscselect = at( 20,   4)
    cet_leg_bitmap_offset: int        = at( 24,   8)
    cet_attributes:        int        = at( 32,   1)
    attributes:            Attributes = at( 48,  16)
    mrenclave:             bytes      = at( 64,  32)
    mrsigner:              bytes      = at(128,  32)
    configid:              bytes      = at(192,  64)
    isvprodid:             int        = at(256,   2)
    isvsvn:                int        = at(258,   2)
    configsvn:             int        = at(260,   2)
# fmt: on
