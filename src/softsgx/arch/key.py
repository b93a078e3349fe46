"""The key request."""

from enum import IntEnum

from softsgx.arch.bits import Bits
from softsgx.arch.layout import Layout, at
from softsgx.arch.secs import Attributes, Miscselect


class Keyname(IntEnum):
    """KEYREQUEST.KEYNAME.  SDM: "KEY REQUEST KeyNames"."""

    EINITTOKEN_KEY = 0
    PROVISION_KEY = 1
    PROVISION_SEAL_KEY = 2
    REPORT_KEY = 3
    SEAL_KEY = 4


class Keypolicy(Bits):
    """KEYREQUEST.KEYPOLICY.  SDM: "Key Request Policy Structure"."""

    MRENCLAVE = 1 << 0
    MRSIGNER = 1 << 1
    NOISVPRODID = 1 << 2
    CONFIGID = 1 << 3
    ISVFAMILYID = 1 << 4
    ISVEXTPRODID = 1 << 5


KEYPOLICY_KSS = (
    Keypolicy.NOISVPRODID
    | Keypolicy.CONFIGID
    | Keypolicy.ISVFAMILYID
    | Keypolicy.ISVEXTPRODID
)
"""The policy bits that only an enclave with ATTRIBUTES.KSS may set."""


# fmt: off
class Keyrequest(Layout, size=512, align=512):
    """What an enclave hands to EGETKEY in RBX.  SDM: "Key Request (KEYREQUEST)".

    CET_ATTRIBUTES_MASK is for CET, which no model has: a reserved byte here.
    """

    keyname:       int        = at( 0,  2)
    keypolicy:     Keypolicy  = at( 2,  2)
    isvsvn:        int        = at( 4,  2)
    cpusvn:        bytes      = at( 8, 16)
    attributemask: Attributes = at(24, 16)
    keyid:         bytes      = at(40, 32)
    miscmask:      Miscselect = at(72,  4)
    configsvn:     int        = at(76,  2)
# fmt: on
