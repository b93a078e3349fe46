"""The launch token."""

from softsgx.arch.layout import Layout, at
from softsgx.arch.secs import Attributes, Miscselect

VALID = 1 << 0
"""EINITTOKEN.VALID, bit 0; the other 31 bits are reserved."""

MACED = 192
"""Bytes of a token, from its start, that its MAC covers."""


# fmt: off
class Einittoken(Layout, size=304, align=512):
    """A launch enclave's permission.  SDM: "EINIT Token Structure (EINITTOKEN)".

    CET_MASKED_ATTRIBUTES_LE is for CET, which no model has: a reserved byte here.
    """

    valid:              int        = at(  0,  4)
    attributes:         Attributes = at( 48, 16)
    mrenclave:          bytes      = at( 64, 32)
    mrsigner:           bytes      = at(128, 32)
    cpusvnle:           bytes      = at(192, 16)
    isvprodidle:        int        = at(208,  2)
    isvsvnle:           int        = at(210,  2)
    maskedmiscselectle: Miscselect = at(236,  4)
    maskedattributesle: Attributes = at(240, 16)
    keyid:              bytes      = at(256, 32)
    mac:                bytes      = at(288, 16)
# fmt: on
