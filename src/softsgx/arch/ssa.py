"""What an asynchronous exit saves in a frame of the state save area.

A frame is SSAFRAMESIZE pages: the XSAVE area at its start, GPRSGX at its end, and
the MISC region (EXINFO) growing down from GPRSGX.
"""

from enum import IntEnum

from softsgx.arch.bits import Bits
from softsgx.arch.layout import Layout, at


class Exitinfo(Bits):
    """GPRSGX.EXITINFO, 4 bytes.  SDM: "EXITINFO"."""

    VECTOR = 0xFF
    EXIT_TYPE = 0x700
    VALID = 1 << 31

    @classmethod
    def of(cls, vector: int, exit_type: "ExitType") -> "Exitinfo":
        """Return the valid EXITINFO of an exception."""
        return cls(vector | exit_type << 8 | cls.VALID)

    @property
    def vector(self) -> int:
        """The exception's vector, 0 to 255."""
        return int(self & Exitinfo.VECTOR)

    @property
    def exit_type(self) -> int:
        """3 for a hardware exception, 6 for a software exception."""
        return int(self & Exitinfo.EXIT_TYPE) >> 8


class ExitType(IntEnum):
    """EXITINFO.EXIT_TYPE."""

    HARDWARE = 3
    SOFTWARE = 6


# fmt: off
class Gprsgx(Layout, size=184):
    """The registers of an interrupted enclave thread.  SDM: "GPRSGX Region"."""

    rax:       int      = at(  0, 8)
    rcx:       int      = at(  8, 8)
    rdx:       int      = at( 16, 8)
    rbx:       int      = at( 24, 8)
    rsp:       int      = at( 32, 8)
    rbp:       int      = at( 40, 8)
    rsi:       int      = at( 48, 8)
    rdi:       int      = at( 56, 8)
    r8:        int      = at( 64, 8)
    r9:        int      = at( 72, 8)
    r10:       int      = at( 80, 8)
    r11:       int      = at( 88, 8)
    r12:       int      = at( 96, 8)
    r13:       int      = at(104, 8)
    r14:       int      = at(112, 8)
    r15:       int      = at(120, 8)
    rflags:    int      = at(128, 8)
    rip:       int      = at(136, 8)
    ursp:      int      = at(144, 8)
    urbp:      int      = at(152, 8)
    exitinfo:  Exitinfo = at(160, 4)
    aexnotify: int      = at(167, 1)
    fsbase:    int      = at(168, 8)
    gsbase:    int      = at(176, 8)


class Exinfo(Layout, size=16):
    """Address and error code of a #PF or #GP.  SDM: "EXINFO Structure"."""

    maddr: int = at(0, 8)
    errcd: int = at(8, 4)
# fmt: on
