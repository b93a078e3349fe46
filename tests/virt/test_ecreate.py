"""ECREATE in a guest: what KVM refuses, before and beside the processor."""

from dataclasses import replace
from typing import Any

import pytest

from softsgx.arch.faults import GeneralProtection
from softsgx.arch.secs import AttributeFlags, Attributes, Miscselect, Secs
from softsgx.machine.model import Model
from softsgx.machine.processor import Processor
from softsgx.virt.cpuid import guest_model
from softsgx.virt.ecreate import check_secs, handle_ecreate
from softsgx.virt.kvm import Kvm
from softsgx.virt.vcpu import Setup
from tests.support import make_machine, make_secs
from tests.virt.guest import PAGEINFO, SECS, Guest

OLD, NEW = Kvm.LINUX_6_1, Kvm.LINUX_6_12
MODE64, DEBUG = AttributeFlags.MODE64BIT, AttributeFlags.DEBUG
PROVISION = AttributeFlags.PROVISIONKEY
HANDLE = "vmx/sgx.c: __handle_encls_ecreate"


def attributes(flags: int, xfrm: int = 3) -> dict[str, object]:
    return {"attributes": Attributes(flags=AttributeFlags(flags), xfrm=xfrm)}


# The KVM; the SECS; the fault's reason, or nothing; where.
SECSES = [
    (OLD, {}, "", HANDLE),
    (NEW, {}, "", HANDLE),
    (OLD, attributes(MODE64 | PROVISION), "no PROVISIONKEY", HANDLE),
    (NEW, attributes(MODE64 | PROVISION), "no PROVISIONKEY", HANDLE),
    (OLD, {"miscselect": Miscselect.EXINFO}, "", HANDLE),
    (OLD, {"miscselect": Miscselect.CPINFO}, "MISCSELECT is beyond", HANDLE),
    (OLD, {"miscselect": Miscselect(1 << 31)}, "MISCSELECT is beyond", HANDLE),
    (OLD, attributes(MODE64 | AttributeFlags.KSS), "", HANDLE),
    (
        OLD,
        attributes(MODE64 | AttributeFlags.AEXNOTIFY),
        "ATTRIBUTES is beyond",
        HANDLE,
    ),
    (NEW, attributes(MODE64 | AttributeFlags.AEXNOTIFY), "", HANDLE),
    (NEW, attributes(MODE64 | AttributeFlags.INIT), "ATTRIBUTES is beyond", HANDLE),
    (NEW, attributes(MODE64 | 1 << 63), "ATTRIBUTES is beyond", HANDLE),
    (OLD, attributes(MODE64, 0x1B), "XFRM is beyond the guest's CPUID", HANDLE),
    (OLD, attributes(MODE64, 3 | 1 << 62), "XFRM is beyond the guest's CPUID", HANDLE),
    (OLD, attributes(MODE64, 1), "", "6.1 leaves it to the processor"),
    (NEW, attributes(MODE64, 1), "XCR0", "6.12 vmx/sgx.c: __handle_encls_ecreate"),
    (NEW, attributes(MODE64, 7), "", HANDLE),
    (OLD, {"size": 1 << 39}, "", HANDLE),
    (OLD, {"size": 1 << 40}, "SIZE is beyond", HANDLE),
    (OLD, {"size": 1 << 30, **attributes(DEBUG)}, "", HANDLE),
    (OLD, {"size": 1 << 31, **attributes(DEBUG)}, "SIZE is beyond", HANDLE),
]


@pytest.mark.parametrize(("kvm", "changes", "reason", "where"), SECSES)
def test_a_secs(kvm: Kvm, changes: dict[str, object], reason: str, where: str) -> None:
    host = Model(max_size_64=40, max_size_not64=31)
    guest = guest_model(kvm, host, 4096, provisioning=False, has_lc=True)
    secs = make_secs(**changes)
    if not reason:
        check_secs(kvm, guest, secs, provisioning=False)
        return
    with pytest.raises(GeneralProtection) as fault:
        check_secs(kvm, guest, secs, provisioning=False)
    assert reason in fault.value.reason, where


def test_provisioning_is_for_those_that_the_host_allows() -> None:
    secs = bytes(make_secs(**attributes(MODE64 | PROVISION)))
    assert Guest().fault(secs) == "#GP: the host allows the guest no PROVISIONKEY"
    assert Guest(provisioning=True).fault(secs) == ""


def test_a_good_one_is_the_machines() -> None:
    guest = Guest()
    guest.ecreate(bytes(make_secs()), page=5)
    assert guest.machine.enclaves[5].secs == make_secs()


def test_what_the_leaf_refuses_is_reflected() -> None:
    guest = Guest()
    guest.ecreate(bytes(make_secs()))
    assert guest.fault(bytes(make_secs())) == "#PF: the EPC page is in use"
    assert guest.fault(bytes(make_secs(ssaframesize=0)), page=1).startswith("#GP: SSAF")
    sgx1 = Guest(machine=make_machine({"sgx2": False}))
    assert sgx1.fault(bytes(make_secs(ssaframesize=0))).startswith("#GP: SSAF")


@pytest.mark.parametrize(
    ("register", "value"),
    [("rbx", PAGEINFO + 16), ("rcx", 1 << 12 | 1), ("rbx", 1 << 63), ("rcx", 1 << 62)],
)
def test_operands_are_looked_at_before_they_are_used(register: str, value: int) -> None:
    # vmx/sgx.c: sgx_get_encls_gva
    guest = Guest()
    guest.ecreate(bytes(make_secs()))
    lp = Processor.kernel(guest.memory)
    lp.regs.rbx, lp.regs.rcx = PAGEINFO, 1 << 12
    setattr(lp.regs, register, value)
    with pytest.raises(GeneralProtection, match=register.upper()):
        handle_ecreate(lp, lambda _: None, lambda _: None)


class Changing:
    """A guest's memory that another processor changes after each load."""

    def __init__(self, guest: Guest, at: int, other: bytes):
        self._memory, self._at, self._other = guest.memory, at, other

    def load(self, address: int, size: int) -> bytes:
        found = self._memory.load(address, size)
        if address == self._at:
            self._memory.put(address, self._other)
        return found

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- the rest as it is
        return getattr(self._memory, name)


@pytest.mark.parametrize("what", ["secs", "pageinfo"])
def test_the_leaf_gets_the_secs_that_was_judged(what: str) -> None:
    # vmx/sgx.c: handle_encls_ecreate copies the contents; PAGEINFO is a copy too
    good = make_secs()
    bad = bytes(make_secs(**attributes(MODE64 | PROVISION)))
    guest = Guest(Setup(epc_bytes=4096))
    elsewhere = 0x10_0000
    guest.memory.put(elsewhere, bad)
    if what == "secs":
        guest.lp.memory = Changing(guest, SECS, bad)
    else:
        info = (0, elsewhere, 0x2000, 0)
        raw = b"".join(word.to_bytes(8, "little") for word in info)
        guest.lp.memory = Changing(guest, PAGEINFO, raw)
    guest.ecreate(bytes(good))
    assert guest.machine.enclaves[0].secs == good
    # The tables were turned: who asks again meets what stands there now.
    memory = guest.lp.memory
    assert isinstance(memory, Changing)
    if what == "secs":
        assert Secs.from_bytes(guest.memory.load(SECS, 4096)) != replace(good)
