"""The enclave for which a report is made."""

from softsgx.arch.layout import Layout, at
from softsgx.arch.secs import Attributes, Miscselect


# fmt: off
class Targetinfo(Layout, size=512, align=512):
    """Who shall verify a report.  SDM: "Report Target Info (TARGETINFO)".

    CET_ATTRIBUTES is for CET, which no model has: a reserved byte here.
    """

    measurement: bytes      = at( 0, 32)
    attributes:  Attributes = at(32, 16)
    configsvn:   int        = at(50,  2)
    miscselect:  Miscselect = at(52,  4)
    configid:    bytes      = at(64, 64)
# fmt: on
