"""The report that one enclave makes for another."""

from softsgx.arch.layout import Layout, at
from softsgx.arch.secs import Attributes, Miscselect

MACED = 384
"""Bytes of a report, from its start, that its MAC covers."""


# fmt: off
class Report(Layout, size=432, align=512):
    """Who the reporting enclave is, MACed for a target.  SDM: "REPORT (REPORT)"."""

    cpusvn:         bytes      = at(  0, 16)
    miscselect:     Miscselect = at( 16,  4)
    cet_attributes: int        = at( 20,  1)
    isvextprodid:   bytes      = at( 32, 16)
    attributes:     Attributes = at( 48, 16)
    mrenclave:      bytes      = at( 64, 32)
    mrsigner:       bytes      = at(128, 32)
    configid:       bytes      = at(192, 64)
    isvprodid:      int        = at(256,  2)
    isvsvn:         int        = at(258,  2)
    configsvn:      int        = at(260,  2)
    isvfamilyid:    bytes      = at(304, 16)
    reportdata:     bytes      = at(320, 64)
    keyid:          bytes      = at(384, 32)
    mac:            bytes      = at(416, 16)
# fmt: on
