"""The processor as Linux finds it: by CPUID and by its model-specific registers.

That is the machine itself, or what a guest is shown of it.
"""

from typing import Protocol

from softsgx.arch.msr import FeatureControl
from softsgx.machine.model import Model


class Registers(Protocol):
    """The registers of SGX."""

    @property
    def feature_control(self) -> FeatureControl:
        """IA32_FEATURE_CONTROL."""

    def wrmsr(self, msr: int, value: int) -> None:
        """Write one, 64 bits; #GP if it cannot be written."""


class Cpu(Protocol):
    """What CPUID enumerates, and the registers."""

    @property
    def model(self) -> Model:
        """What CPUID says."""

    @property
    def package(self) -> Registers:
        """The registers."""
