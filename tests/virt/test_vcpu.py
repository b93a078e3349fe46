"""A guest's processor as a whole: CPUID, MSRs and ENCLS are of one piece."""

import pytest

from softsgx.arch.faults import Fault, InvalidOpcode
from softsgx.arch.leaves import Encls
from softsgx.arch.msr import FeatureControl
from softsgx.machine.memory import epc_address
from softsgx.machine.package import OPTED_IN, OPTED_IN_FLEXIBLE
from softsgx.virt.kvm import Kvm
from softsgx.virt.vcpu import Setup, Vcpu
from tests.support import make_machine
from tests.virt.guest import Guest

SETUP = Setup(epc_bytes=4096)


@pytest.mark.parametrize(
    ("is_writable", "flc", "control"),
    [
        (True, True, OPTED_IN_FLEXIBLE),
        (False, True, OPTED_IN),
        (True, False, OPTED_IN),
        (False, False, OPTED_IN),
    ],
)
def test_the_firmware_turns_sgx_on_and_locks_it(
    is_writable: bool,  # noqa: FBT001 -- a column of the table
    flc: bool,  # noqa: FBT001 -- a column of the table
    control: FeatureControl,
) -> None:
    setup = Setup(epc_bytes=4096, is_writable=is_writable)
    guest = Guest(setup, machine=make_machine({"flc": flc}))
    assert guest.vcpu.package.feature_control == control


def test_launch_control_that_the_host_has_off_no_guest_has() -> None:
    machine = make_machine()
    machine.package.feature_control = OPTED_IN
    assert not Vcpu(machine, SETUP).model.flc


def test_before_the_firmware_every_leaf_faults() -> None:
    machine = make_machine()
    guest = Guest(machine=machine)
    guest.vcpu = Vcpu(machine, SETUP)
    with pytest.raises(Fault, match="IA32_FEATURE_CONTROL has SGX off"):
        guest.encls(Encls.EREMOVE, rcx=epc_address(0))
    guest.vcpu.reset()
    assert guest.encls(Encls.EREMOVE, rcx=epc_address(0)) == 0


def test_a_leaf_that_stays_inside_is_the_processors() -> None:
    guest = Guest(Setup(epc_bytes=4096, kvm=Kvm.LINUX_6_1))
    assert guest.encls(Encls.EPA, 3, epc_address(0)) == Encls.EPA
    assert guest.machine.epcm[0].valid
    with pytest.raises(InvalidOpcode, match="no leaf 0x10 in the guest"):
        guest.encls(Encls.ERDINFO)
