"""What ERDINFO tells about a page."""

from softsgx.arch.bits import Bits
from softsgx.arch.layout import Layout, at

RDINFO_BLOCKED = 1 << 63
"""The bit of RDINFO.FLAGS that SECINFO.FLAGS lacks; bits 15:0 are the same."""


class RdinfoStatus(Bits):
    """RDINFO.STATUS: whether a SECS has pages, in the EPC or evicted by a monitor."""

    CHILDPRESENT = 1 << 0
    VIRTCHILDPRESENT = 1 << 1


# fmt: off
class Rdinfo(Layout, size=32, align=32):
    """State and owner of a page.  SDM: "Read Info (RDINFO)"."""

    status:         RdinfoStatus = at( 0, 8)
    flags:          int          = at( 8, 8)
    enclavecontext: int          = at(16, 8)
# fmt: on
