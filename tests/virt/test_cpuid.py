"""CPUID.12H as KVM filters it; each row says where Linux does."""

from dataclasses import replace

import pytest

from softsgx.arch.cpuid import LEAF_FEATURES, LEAF_SGX, CpuidRegs
from softsgx.machine.model import Model
from softsgx.platform.models import CPUS
from softsgx.virt.cpuid import guest_model, supported
from softsgx.virt.kvm import Kvm

OLD, NEW = Kvm.LINUX_6_1, Kvm.LINUX_6_12
ALL = 0xFFFF_FFFF
FULL = CpuidRegs(ALL, ALL, ALL, ALL)

# What comes out of a processor whose registers are all ones, and where that is decided.
FILTERED = [
    (OLD, 0, "eax", 0x3, "kvm/cpuid.c: kvm_set_cpu_caps, CPUID_12_EAX"),
    (NEW, 0, "eax", 0x803, "kvm/cpuid.c: kvm_set_cpu_caps, CPUID_12_EAX"),
    (OLD, 0, "ebx", 0x1, "kvm/cpuid.c: __do_cpuid_func, case 0x12"),
    (NEW, 0, "ebx", 0x1, "kvm/cpuid.c: __do_cpuid_func, case 0x12"),
    (OLD, 0, "edx", ALL, "kvm/cpuid.c: __do_cpuid_func: sizes are not restricted"),
    (NEW, 0, "edx", ALL, "kvm/cpuid.c: __do_cpuid_func: sizes are not restricted"),
    (OLD, 1, "eax", 0xB6, "kvm/cpuid.c: __do_cpuid_func, index 1"),
    (NEW, 1, "eax", 0x4B6, "asm/sgx.h: SGX_ATTR_UNPRIV_MASK has AEXNOTIFY"),
    (OLD, 1, "ebx", 0, "kvm/cpuid.c: __do_cpuid_func, index 1"),
    (NEW, 1, "ebx", 0, "kvm/cpuid.c: __do_cpuid_func, index 1"),
    (OLD, 1, "ecx", ALL, "kvm/cpuid.c: __do_cpuid_func: XFRM is user space's to set"),
    (NEW, 1, "edx", ALL, "kvm/cpuid.c: __do_cpuid_func: XFRM is user space's to set"),
    (OLD, 2, "eax", 0, "kvm/cpuid.c: __do_cpuid_func ends with index 1"),
    (NEW, 3, "ecx", 0, "kvm/cpuid.c: __do_cpuid_func ends with index 1"),
]


@pytest.mark.parametrize(("kvm", "subleaf", "register", "value", "where"), FILTERED)
def test_kvm_filters(
    kvm: Kvm, subleaf: int, register: str, value: int, where: str
) -> None:
    assert getattr(supported(kvm, FULL, subleaf), register) == value, where


@pytest.mark.parametrize("kvm", Kvm)
@pytest.mark.parametrize("cpu", CPUS)
def test_a_guest_has_what_kvm_reports(kvm: Kvm, cpu: str) -> None:
    host = CPUS[cpu].model
    guest = guest_model(kvm, host, 1 << 20, provisioning=True, has_lc=host.flc)
    for subleaf in (0, 1):
        offered = supported(kvm, host.cpuid(LEAF_SGX, subleaf), subleaf)
        assert guest.cpuid(LEAF_SGX, subleaf) == offered
    assert guest.cpuid(LEAF_FEATURES, 0) == host.cpuid(LEAF_FEATURES, 0)


def test_what_the_processor_lacks_no_guest_has() -> None:
    host = replace(Model(), sgx2=False, exinfo=False, kss=False)
    guest = guest_model(NEW, host, 4096, provisioning=True, has_lc=False)
    assert [guest.sgx2, guest.exinfo, guest.kss, guest.flc] == [False] * 4


def test_the_section_is_the_guests() -> None:
    guest = guest_model(NEW, Model(), 3 << 20, provisioning=True, has_lc=True)
    section = guest.cpuid(LEAF_SGX, 2)
    assert (section.eax & 0xF, section.ecx & ~0xF) == (1, 3 << 20)
    assert guest.cpuid(LEAF_SGX, 3) == CpuidRegs()


def test_provisionkey_is_enumerated_to_those_that_may_have_it() -> None:
    # QEMU, target/i386/kvm/kvm.c: it clears the bit where it cannot enable it.
    for leave in (False, True):
        guest = guest_model(NEW, Model(), 4096, provisioning=leave, has_lc=True)
        assert bool(guest.cpuid(LEAF_SGX, 1).eax & 0x10) is leave
