"""A page's security attributes."""

from enum import IntEnum

from softsgx.arch.bits import Bits
from softsgx.arch.layout import Layout, at


class PageType(IntEnum):
    """SECINFO.FLAGS.PAGE_TYPE and EPCM.PT.  SDM: "PAGE_TYPE Field Definition"."""

    SECS = 0
    TCS = 1
    REG = 2
    VA = 3
    TRIM = 4
    SS_FIRST = 5
    SS_REST = 6


class SecinfoFlags(Bits):
    """SECINFO.FLAGS.  SDM: "SECINFO.FLAGS"."""

    R = 1 << 0
    W = 1 << 1
    X = 1 << 2
    PENDING = 1 << 3
    MODIFIED = 1 << 4
    PR = 1 << 5

    @classmethod
    def of(cls, page_type: int, bits: int = 0) -> "SecinfoFlags":
        """Return the flags of a page type with *bits*."""
        return cls(bits | page_type << 8)

    @property
    def page_type(self) -> int:
        """Bits 15:8, whether a page type or not."""
        return int(self) >> 8 & 0xFF

    @property
    def has_reserved(self) -> bool:
        """Say whether a bit of 7:6 or 63:16 is set."""
        return bool(int(self) & ~0xFF3F)


# fmt: off
class Secinfo(Layout, size=64, align=64):
    """Permissions, state and type of a page.  SDM: "Security Information (SECINFO)"."""

    flags: SecinfoFlags = at(0, 8)
# fmt: on
