"""INIT of /dev/isgx; a row for each rule."""

import errno

import pytest

from softsgx.arch.errors import SgxError
from softsgx.arch.faults import GeneralProtection
from softsgx.arch.secs import AttributeFlags
from softsgx.crypto.sha256 import sha256
from softsgx.driver import isgx_uapi as uapi
from softsgx.driver.build import EINIT_ROUNDS, EINIT_SPINS
from softsgx.driver.errnos import ERESTARTSYS
from softsgx.driver.gate import StockGate
from softsgx.driver.protocols import Task
from softsgx.driver.uapi import PROT_EXEC
from softsgx.launch.decision import Decision, Refusal
from softsgx.launch.request import Request
from tests.driver.fakes import (
    BASE,
    PAGE,
    RW,
    SIZE,
    refused,
    signing_key,
    swap,
)
from tests.driver.isgx import (
    NOWHERE,
    SIGSTRUCT_AT,
    TOKEN_AT,
    ready,
)


def test_init_initializes() -> None:
    world = ready()
    assert world.ioctl(uapi.SGX_IOC_ENCLAVE_INIT) == 0
    assert world.encl().initialized
    state = world.machine.enclaves[world.encl().secs]
    assert state.secs.attributes.flags & AttributeFlags.INIT


def test_init_of_what_is_initialized_does_nothing() -> None:
    world = ready()
    world.ioctl(uapi.SGX_IOC_ENCLAVE_INIT)
    world.put(SIGSTRUCT_AT, bytes(PAGE))
    assert world.ioctl(uapi.SGX_IOC_ENCLAVE_INIT) == 0


def test_any_address_in_the_enclave_will_do() -> None:
    world = ready()
    assert world.init(addr=BASE + SIZE - PAGE) == 0


@pytest.mark.parametrize(
    ("fields", "number"),
    [
        ({"addr": BASE + 8}, errno.EINVAL),
        ({"addr": NOWHERE}, errno.EINVAL),
        ({"addr": BASE + SIZE}, errno.ENOENT),
    ],
)
def test_init_finds_its_enclave_by_address(fields: dict[str, int], number: int) -> None:
    world = ready()
    world.map(BASE + SIZE)
    with refused(number):
        world.init(**fields)


@pytest.mark.parametrize(
    ("fields", "left"),
    [
        ({"sigstruct": NOWHERE, "addr": NOWHERE}, 1808),
        ({"einittoken": 0, "addr": NOWHERE}, 304),
        ({"sigstruct": TOKEN_AT + PAGE - 8, "einittoken": 0}, 1800),
    ],
)
def test_init_returns_the_bytes_that_it_could_not_copy_before_all_else(
    fields: dict[str, int], left: int
) -> None:
    world = ready()
    assert world.init(**fields) == left
    assert not world.encl().initialized


def test_an_error_code_of_einit_is_what_init_returns() -> None:
    world = ready()
    world.machine.package.lepubkeyhash = bytes(32)
    assert world.ioctl(uapi.SGX_IOC_ENCLAVE_INIT) == SgxError.INVALID_EINITTOKEN
    assert not world.encl().initialized
    world.machine.package.lepubkeyhash = sha256(signing_key().modulus)
    assert world.ioctl(uapi.SGX_IOC_ENCLAVE_INIT) == 0


def test_a_fault_of_einit_is_efault() -> None:
    world = ready()

    def einit(*operands: object) -> int:
        del operands
        raise GeneralProtection("for this test")

    swap(world.driver.kernel, "einit", einit)
    with refused(errno.EFAULT):
        world.ioctl(uapi.SGX_IOC_ENCLAVE_INIT)


def test_the_launch_hash_stays_and_einit_gets_the_token() -> None:
    world = ready()
    before, tokens = world.machine.package.lepubkeyhash, []

    def einit(secs: int, sigstruct: bytes, token: bytes) -> int:
        del secs, sigstruct
        tokens.append(token)
        return SgxError.INVALID_EINITTOKEN

    swap(world.driver.kernel, "einit", einit)
    token = b"\2" + bytes(range(256)) + bytes(47)
    world.put_init(token)
    assert world.ioctl(uapi.SGX_IOC_ENCLAVE_INIT) == 16
    assert tokens == [token]
    assert world.machine.package.lepubkeyhash == before


def test_einit_is_tried_again_while_events_interrupt_it() -> None:
    world, calls = ready(), []

    def einit(secs: int, sigstruct: bytes, token: bytes) -> int:
        calls.append((secs, sigstruct, token))
        return SgxError.UNMASKED_EVENT

    swap(world.driver.kernel, "einit", einit)
    assert world.ioctl(uapi.SGX_IOC_ENCLAVE_INIT) == SgxError.UNMASKED_EVENT
    assert len(calls) == EINIT_ROUNDS * EINIT_SPINS
    world.task.signals_at = {world.task.signal_asked + 2}
    calls.clear()
    with refused(ERESTARTSYS):
        world.ioctl(uapi.SGX_IOC_ENCLAVE_INIT)
    assert len(calls) == 2 * EINIT_SPINS


class Judge(StockGate):
    """An owner who decides as told and remembers what was asked."""

    def __init__(self, decision: Decision) -> None:
        self.decision = decision
        self.asked: list[Request] = []
        self.whys: list[str] = []

    def judge(self, task: Task, request: Request) -> Decision:
        del task
        self.asked.append(request)
        return self.decision

    def failed(
        self, task: Task, request: Request, decision: Decision, why: str
    ) -> None:
        del task, request, decision
        self.whys.append(why)


@pytest.mark.parametrize(
    ("refusal", "number"),
    [(Refusal.SIGNER, errno.EPERM), (Refusal.ATTRIBUTE, errno.EACCES)],
)
def test_the_owner_decides_before_einit(refusal: Refusal, number: int) -> None:
    world = ready()
    gate = Judge(Decision(rule="r", reason="because", refusal=refusal))
    world.driver.gate = gate
    with refused(number, "because"):
        world.ioctl(uapi.SGX_IOC_ENCLAVE_INIT)
    assert not world.encl().initialized
    (request,) = gate.asked
    assert request.is_locked
    assert not request.has_provision_fd


def test_the_owner_hears_what_einit_said() -> None:
    world = ready()
    gate = Judge(Decision(rule="r", reason="because"))
    world.driver.gate = gate
    world.machine.package.lepubkeyhash = bytes(32)
    world.ioctl(uapi.SGX_IOC_ENCLAVE_INIT)
    assert gate.whys == ["SGX_INVALID_EINITTOKEN"]


def test_who_is_not_dynamic_maps_nothing_after_init() -> None:
    world = ready()
    world.driver.gate = Judge(Decision(rule="r", reason="", is_dynamic=False))
    world.driver.mprotect(world.mm, BASE, SIZE, RW)
    world.ioctl(uapi.SGX_IOC_ENCLAVE_INIT)
    with refused(errno.EACCES):
        world.driver.mprotect(world.mm, BASE, SIZE, PROT_EXEC)
