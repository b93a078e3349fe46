"""The thread's control structure."""

from softsgx.arch.bits import Bits
from softsgx.arch.layout import Layout, at


class TcsFlags(Bits):
    """TCS.FLAGS.  SDM: "TCS.FLAGS"."""

    DBGOPTIN = 1 << 0
    AEXNOTIFY = 1 << 1


# fmt: off
class Tcs(Layout, size=4096, align=4096):
    """A thread's control structure.  SDM: "Thread Control Structure (TCS)".

    OCETSSA and PREVSSP are for CET, which no model has: reserved bytes here.
    """

    stage:    int      = at( 0, 8)
    flags:    TcsFlags = at( 8, 8)
    ossa:     int      = at(16, 8)
    cssa:     int      = at(24, 4)
    nssa:     int      = at(28, 4)
    oentry:   int      = at(32, 8)
    aep:      int      = at(40, 8)
    ofsbasgx: int      = at(48, 8)
    ogsbasgx: int      = at(56, 8)
    fslimit:  int      = at(64, 4)
    gslimit:  int      = at(68, 4)
# fmt: on

SGX_TCS_LIMIT = 88
"""Bytes of a TCS that have a meaning; a debugger sees no further."""
