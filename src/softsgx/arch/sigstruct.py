"""The enclave's signed certificate."""

from softsgx.arch.layout import Layout, at
from softsgx.arch.secs import Attributes, Miscselect

HEADER = bytes.fromhex("06000000e10000000000010000000000")
HEADER2 = bytes.fromhex("01010000600000006000000001000000")
"""The two constants at the head, in the order of the bytes in memory."""

VENDOR_INTEL = 0x8086
EXPONENT = 3


# fmt: off
class Sigstruct(Layout, size=1808, align=4096):
    """An enclave's certificate.  SDM: "Enclave Signature Structure (SIGSTRUCT)".

    CET_ATTRIBUTES and its mask are for CET, which no model has: reserved bytes here.
    """

    header:        bytes      = at(   0,  16)
    vendor:        int        = at(  16,   4)
    date:          int        = at(  20,   4)
    header2:       bytes      = at(  24,  16)
    swdefined:     int        = at(  40,   4)
    modulus:       bytes      = at( 128, 384)
    exponent:      int        = at( 512,   4)
    signature:     bytes      = at( 516, 384)
    miscselect:    Miscselect = at( 900,   4)
    miscmask:      Miscselect = at( 904,   4)
    isvfamilyid:   bytes      = at( 912,  16)
    attributes:    Attributes = at( 928,  16)
    attributemask: Attributes = at( 944,  16)
    enclavehash:   bytes      = at( 960,  32)
    isvextprodid:  bytes      = at(1008,  16)
    isvprodid:     int        = at(1024,   2)
    isvsvn:        int        = at(1026,   2)
    q1:            bytes      = at(1040, 384)
    q2:            bytes      = at(1424, 384)
# fmt: on


def signed_part(raw: bytes) -> bytes:
    """Return the 256 bytes that the signature covers: 0..127 and 900..1027."""
    return raw[0:128] + raw[900:1028]
