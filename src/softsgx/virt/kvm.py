"""Which KVM: two long-term kernels differ in what they report and which fault it is."""

from enum import StrEnum


class Kvm(StrEnum):
    """KVM as of a release of Linux."""

    LINUX_6_1 = "6.1"
    LINUX_6_12 = "6.12"
