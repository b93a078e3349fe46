"""EINIT in a guest: its own launch key, its own RAX and ZF."""

from collections.abc import Callable

import pytest

from softsgx.arch.errors import SgxError
from softsgx.arch.faults import GeneralProtection, PageFault
from softsgx.arch.leaves import Encls
from softsgx.arch.msr import INTEL_LEPUBKEYHASH, Msr
from softsgx.arch.secs import AttributeFlags
from softsgx.crypto.sha256 import sha256
from softsgx.machine.machine import Machine
from softsgx.machine.memory import epc_address
from softsgx.machine.processor import RFLAGS_ARITHMETIC, RFLAGS_DF, RFLAGS_ZF
from softsgx.virt.einit import Launch
from softsgx.virt.vcpu import Setup
from tests.support import Ring0, make_machine, make_secs, signing_key
from tests.virt.guest import Guest

SIGSTRUCT, TOKEN = 0x8000, 0x9000
MRSIGNER = sha256(signing_key().modulus)


class HostsJudge:
    """Refuses with *code*, and remembers what it was asked and told."""

    def __init__(self, code: SgxError | None = None):
        self.code = code
        self.asked: list[Launch] = []
        self.told: list[SgxError] = []
        self.meanwhile: Callable[[], None] = lambda: None

    def judge(self, launch: Launch) -> SgxError | None:
        self.asked.append(launch)
        self.meanwhile()
        return self.code

    def failed(self, launch: Launch, code: SgxError) -> None:
        assert launch == self.asked[-1]
        self.told.append(code)


def built(
    setup: Setup, machine: Machine | None = None, judge: HostsJudge | None = None
) -> Guest:
    """A guest with an enclave that waits for EINIT, and its SIGSTRUCT in memory."""
    guest = Guest(setup, machine=machine or make_machine(), judge=judge)
    guest.ecreate(bytes(make_secs()))
    guest.memory.put(SIGSTRUCT, Ring0(guest.machine).sigstruct())
    guest.memory.put(TOKEN, bytes(304))
    return guest


def einit(guest: Guest, rdx: int = TOKEN) -> int:
    return guest.encls(Encls.EINIT, SIGSTRUCT, epc_address(0), rdx)


def is_initialized(guest: Guest) -> bool:
    flags = guest.machine.enclaves[0].secs.attributes.flags
    return bool(flags & AttributeFlags.INIT)


def write_hash(guest: Guest, value: bytes) -> None:
    for word in range(4):
        part = int.from_bytes(value[word * 8 : word * 8 + 8], "little")
        guest.vcpu.package.wrmsr(Msr.IA32_SGXLEPUBKEYHASH0 + word, part)


def test_the_guests_hash_counts_and_not_the_hosts() -> None:
    # cpu/sgx/virt.c: sgx_virt_einit
    guest = built(Setup(epc_bytes=4096))
    guest.machine.package.lepubkeyhash = MRSIGNER
    assert einit(guest) == SgxError.INVALID_EINITTOKEN
    assert guest.machine.package.lepubkeyhash == INTEL_LEPUBKEYHASH
    write_hash(guest, MRSIGNER)
    assert einit(guest) == 0
    assert is_initialized(guest)


def test_the_result_is_rax_and_zf() -> None:
    # vmx/sgx.c: handle_encls_einit
    guest = built(Setup(epc_bytes=4096))
    guest.lp.regs.rflags |= RFLAGS_ARITHMETIC | RFLAGS_DF
    assert einit(guest) == SgxError.INVALID_EINITTOKEN
    flags = guest.lp.regs.rflags
    assert flags & RFLAGS_ARITHMETIC == RFLAGS_ZF
    assert flags & RFLAGS_DF
    write_hash(guest, MRSIGNER)
    assert einit(guest) == 0
    assert not guest.lp.regs.rflags & RFLAGS_ARITHMETIC


def test_a_fixed_launch_key_is_the_firmwares() -> None:
    guest = built(Setup(epc_bytes=4096, launchkey=MRSIGNER, is_writable=False))
    with pytest.raises(GeneralProtection, match="not writable"):
        write_hash(guest, bytes(32))
    assert einit(guest) == 0


def test_without_launch_control_in_the_host_its_own_hash_counts() -> None:
    machine = make_machine({"flc": False})
    machine.package.lepubkeyhash = MRSIGNER
    # A launch key that somebody wants for the guest is not to be had.
    guest = built(Setup(epc_bytes=4096, launchkey=bytes(32)), machine)
    assert guest.vcpu.package.lepubkeyhash == MRSIGNER
    assert not guest.vcpu.model.flc
    with pytest.raises(GeneralProtection, match="MSR 0x8c"):
        write_hash(guest, bytes(32))
    assert einit(guest) == 0


def test_a_fault_is_reflected_and_operands_are_looked_at() -> None:
    guest = built(Setup(epc_bytes=4096, launchkey=MRSIGNER))
    with pytest.raises(GeneralProtection, match="RDX"):
        einit(guest, TOKEN + 8)
    assert einit(guest) == 0
    with pytest.raises(GeneralProtection, match="initialized already"):
        einit(guest)


OURS = Setup(epc_bytes=4096, launchkey=MRSIGNER)


@pytest.mark.parametrize(
    "code", [SgxError.INVALID_EINITTOKEN, SgxError.INVALID_ATTRIBUTE]
)
def test_who_is_refused_by_the_host_hears_an_error_code(code: SgxError) -> None:
    judge = HostsJudge(code)
    guest = built(OURS, judge=judge)
    assert einit(guest) == code
    assert guest.lp.regs.rflags & RFLAGS_ARITHMETIC == RFLAGS_ZF
    assert not is_initialized(guest)
    assert judge.told == []


def test_the_judge_sees_what_the_leaf_gets() -> None:
    judge = HostsJudge()
    guest = built(OURS, judge=judge)
    # The guest changes its mind while it is judged.
    judge.meanwhile = lambda: guest.memory.put(SIGSTRUCT, bytes(1808))
    assert einit(guest) == 0
    (launch,) = judge.asked
    assert sha256(launch.sigstruct.modulus) == MRSIGNER == launch.launchkey
    assert launch.attributes == make_secs().attributes.flags
    assert launch.token is None


def test_a_judge_hears_what_the_leaf_refused() -> None:
    judge = HostsJudge()
    assert einit(built(Setup(epc_bytes=4096), judge=judge)) != 0
    assert judge.told == [SgxError.INVALID_EINITTOKEN]


def test_a_valid_token_is_shown_to_the_judge() -> None:
    judge = HostsJudge(SgxError.INVALID_EINITTOKEN)
    guest = built(OURS, judge=judge)
    guest.memory.put(TOKEN, b"\1" + bytes(303))
    einit(guest)
    assert judge.asked[0].token is not None


def test_without_a_secs_nobody_is_judged() -> None:
    judge = HostsJudge()
    guest = built(OURS, judge=judge)
    with pytest.raises(PageFault, match="not a SECS"):
        guest.encls(Encls.EINIT, SIGSTRUCT, epc_address(7), TOKEN)
    assert judge.asked == []


def test_a_judge_is_asked_where_kvm_would_trap_nothing() -> None:
    machine = make_machine({"flc": False})
    machine.package.lepubkeyhash = MRSIGNER
    judge = HostsJudge(SgxError.INVALID_EINITTOKEN)
    assert einit(built(OURS, machine, judge)) == SgxError.INVALID_EINITTOKEN
    judge.code = None
    assert einit(built(OURS, make_same(machine), judge)) == 0


def make_same(machine: Machine) -> Machine:
    other = make_machine({"flc": False})
    other.package.lepubkeyhash = machine.package.lepubkeyhash
    return other
