"""The operand block of the leaves that add, load and evict pages."""

from softsgx.arch.layout import Layout, at
from softsgx.arch.secinfo import Secinfo


# fmt: off
class Pageinfo(Layout, size=32, align=32):
    """Addresses of a page's parts; *secinfo* is PCMD's for the paging leaves.

    SDM: "Page Information (PAGEINFO)".
    """

    linaddr: int = at( 0, 8)
    srcpge:  int = at( 8, 8)
    secinfo: int = at(16, 8)
    secs:    int = at(24, 8)


class Pcmd(Layout, size=128, align=128):
    """What EWB leaves outside beside a page.  SDM: "Paging Crypto MetaData (PCMD)"."""

    secinfo:   Secinfo = at(  0, 64)
    enclaveid: int     = at( 64,  8)
    mac:       bytes   = at(112, 16)
# fmt: on
