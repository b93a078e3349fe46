"""The model-specific registers of SGX.  SDM: "Architectural MSRs"."""

from enum import IntEnum

from softsgx.arch.bits import Bits


class Msr(IntEnum):
    """MSR numbers."""

    IA32_FEATURE_CONTROL = 0x3A
    IA32_SGXLEPUBKEYHASH0 = 0x8C
    IA32_SGXLEPUBKEYHASH1 = 0x8D
    IA32_SGXLEPUBKEYHASH2 = 0x8E
    IA32_SGXLEPUBKEYHASH3 = 0x8F
    IA32_SGXOWNEREPOCH0 = 0x300
    IA32_SGXOWNEREPOCH1 = 0x301


class FeatureControl(Bits):
    """IA32_FEATURE_CONTROL.  SDM: "Intel SGX Opt-In Configuration"."""

    LOCK = 1 << 0
    VMX_INSIDE_SMX = 1 << 1
    VMX_OUTSIDE_SMX = 1 << 2
    SGX_LC_ENABLE = 1 << 17
    SGX_ENABLE = 1 << 18


INTEL_LEPUBKEYHASH = bytes.fromhex(
    "acb77012053e05a63d413b8bbae8fb6c5d73b3f2996d91c43bbbf90959c0f8d4"
)
"""IA32_SGXLEPUBKEYHASH0..3 at reset, as 32 bytes in memory order."""
