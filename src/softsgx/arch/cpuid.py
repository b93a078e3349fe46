"""What CPUID says about SGX, and who a processor is.

SDM: "Intel SGX Resource Enumeration Leaves".
"""

from dataclasses import dataclass
from struct import unpack
from typing import NamedTuple

from softsgx.arch.bits import Bits

LEAF_VERSION = 0x01
LEAF_FEATURES = 0x07
LEAF_SGX = 0x12
"""CPUID leaves (EAX) in which SGX, or what it needs for guests, shows."""

LEAF1_ECX_VMX = 1 << 5

LEAF7_EBX_SGX = 1 << 2
LEAF7_ECX_SGX_LC = 1 << 30
LEAF7_EDX_SGX_KEYS = 1 << 1
"""Bits of leaf 7, sub-leaf 0."""

VENDOR_INTEL = "GenuineIntel"
BRAND_LENGTH = 47
"""Characters of a brand string; a NUL follows."""


class CpuidRegs(NamedTuple):
    """The four registers that CPUID returns."""

    eax: int = 0
    ebx: int = 0
    ecx: int = 0
    edx: int = 0


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who a processor says it is; *brand* is ASCII, at most 47 bytes."""

    family: int
    model: int
    stepping: int
    brand: str

    @property
    def signature(self) -> int:
        """CPUID.01H:EAX: families above 15 and models above 15 have fields of more."""
        base, extended = min(self.family, 0xF), max(self.family - 0xF, 0)
        low, high = self.model & 0xF, self.model >> 4
        return extended << 20 | high << 16 | base << 8 | low << 4 | self.stepping

    def brand_regs(self, part: int) -> CpuidRegs:
        """Return a third of the brand string, *part* 0 to 2, padded with NULs."""
        text = self.brand.encode("ascii").ljust(48, b"\0")[16 * part : 16 * part + 16]
        return CpuidRegs(*unpack("<4I", text))


class SgxFeatures(Bits):
    """CPUID.12H.0:EAX."""

    SGX1 = 1 << 0
    SGX2 = 1 << 1
    ENCLV = 1 << 5
    OVERSUB = 1 << 6
    EVERIFYREPORT2 = 1 << 7
    EUPDATESVN = 1 << 10
    EDECCSSA = 1 << 11


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """Sub-leaf 0: leaf functions, MISCSELECT, and enclave sizes as powers of two."""

    features: SgxFeatures
    miscselect: int
    max_size_not64: int
    max_size_64: int

    def regs(self) -> CpuidRegs:
        """Return the four registers."""
        sizes = self.max_size_not64 | self.max_size_64 << 8
        return CpuidRegs(int(self.features), self.miscselect, 0, sizes)


@dataclass(frozen=True, kw_only=True)
class AttributeMasks:
    """Sub-leaf 1: the bits of SECS.ATTRIBUTES that ECREATE lets software set."""

    flags: int
    xfrm: int

    def regs(self) -> CpuidRegs:
        """Return the four registers: flags in EBX:EAX, XFRM in EDX:ECX."""
        return CpuidRegs(*_halves(self.flags), *_halves(self.xfrm))


@dataclass(frozen=True, kw_only=True)
class EpcSection:
    """Sub-leaf 2 and up: one section of the EPC, base and size in bytes."""

    base: int
    size: int

    def regs(self) -> CpuidRegs:
        """Return the four registers; a section of size 0 is the list's end."""
        if not self.size:
            return CpuidRegs()
        base_low, base_high = _halves(self.base)
        size_low, size_high = _halves(self.size)
        return CpuidRegs(base_low | 1, base_high, size_low | 1, size_high)


def _halves(value: int) -> tuple[int, int]:
    return value & 0xFFFF_FFFF, value >> 32
