"""INIT and PROVISION."""

import errno
from dataclasses import replace
from typing import Any, cast

import pytest

from softsgx.arch.einittoken import Einittoken
from softsgx.arch.errors import SgxError
from softsgx.arch.faults import GeneralProtection
from softsgx.arch.secs import AttributeFlags, Attributes, Miscselect
from softsgx.arch.sigstruct import Sigstruct
from softsgx.crypto.sha256 import sha256
from softsgx.driver import uapi
from softsgx.driver.build import EINIT_ROUNDS, EINIT_SPINS
from softsgx.driver.errnos import ERESTARTSYS
from softsgx.driver.gate import StockGate
from softsgx.driver.protocols import Task
from softsgx.launch.decision import Decision, Refusal
from softsgx.launch.request import Request
from tests.driver.fakes import PAGE, SCRATCH, World, refused, signing_key, swap

INIT = uapi.SGX_IOC_ENCLAVE_INIT
PROVISION = uapi.SGX_IOC_ENCLAVE_PROVISION


def ready(**changes: object) -> World:
    """A world whose arguments are those of an INIT that works, but for *changes*."""
    world = World()
    world.create()
    world.add(1, 2, measure=True)
    world.put_sigstruct(**changes)
    return world


def test_init_initializes() -> None:
    world = ready()
    assert world.ioctl(INIT) == 0
    assert world.encl.initialized
    state = world.machine.enclaves[world.encl.secs]
    assert state.secs.attributes.flags & AttributeFlags.INIT
    assert state.secs.mrsigner == sha256(signing_key().modulus)


def test_the_launch_hash_becomes_the_signers() -> None:
    world = ready()
    world.ioctl(INIT)
    assert world.machine.package.lepubkeyhash == sha256(signing_key().modulus)


def test_einit_gets_an_all_zero_token() -> None:
    world, tokens = ready(), []

    def einit(secs: int, sigstruct: bytes, token: bytes) -> int:
        del secs, sigstruct
        tokens.append(token)
        return 0

    swap(world.driver.kernel, "einit", einit)
    world.ioctl(INIT)
    assert tokens == [bytes(Einittoken.SIZE)]


def test_the_sigstruct_needs_no_alignment() -> None:
    world = ready()
    world.scratch.data[8 : 8 + 1808] = world.scratch.data[:1808]
    world.put(uapi.sgx_enclave_init(sigstruct=SCRATCH + 8))
    assert world.ioctl(INIT) == 0


ATTRIBUTES = Attributes(flags=AttributeFlags(1 << 3), xfrm=0)
XFRM = Attributes(flags=AttributeFlags(0), xfrm=1 << 40)

CASES = [
    (errno.EINVAL, "created", "arg"),
    (errno.EINVAL, "initialized", "arg"),
    (errno.EFAULT, "arg", "sigstruct"),
    (errno.EFAULT, "sigstruct", "vendor"),
    (errno.EINVAL, "vendor", "attributes"),
    (errno.EACCES, "attributes", "enforced attributes"),
    (errno.EINVAL, "enforced attributes", "fault"),
    (errno.EINVAL, "enforced miscselect", "fault"),
    (errno.EINVAL, "enforced xfrm", "fault"),
    (errno.EPERM, "launch", "fault"),
    (errno.EIO, "fault", "fault"),
    (errno.EPERM, "code", "code"),
    (ERESTARTSYS, "event", "signal"),
]

CHANGES: dict[str, dict[str, object]] = {
    "vendor": {"vendor": 1},
    "enforced attributes": {"attributes": ATTRIBUTES, "attributemask": ATTRIBUTES},
    "enforced miscselect": {"miscselect": Miscselect(4), "miscmask": Miscselect(4)},
    "enforced xfrm": {"attributes": XFRM, "attributemask": XFRM},
}


def spoil(world: World, wrong: str) -> None:
    if wrong == "created":
        world.encl.created = False
    elif wrong == "initialized":
        world.encl.initialized = True
    elif wrong == "sigstruct":
        world.put(uapi.sgx_enclave_init(sigstruct=SCRATCH + 2 * PAGE - 1807))
    elif wrong == "attributes":
        world.encl.attributes |= AttributeFlags.EINITTOKENKEY
    elif wrong == "launch":
        world.driver.gate = Denying()
    elif wrong in ("fault", "code", "event"):
        break_einit(world, wrong)
    elif wrong == "signal":
        world.task.signals_at = {2}
        world.task.signal_asked = 0


class Denying(StockGate):
    def judge(self, task: Task, request: Request) -> Decision:
        assert not any(encl.initialized for encl in task.mm.encls)
        assert request.mrsigner
        return Decision(rule="signing", reason="a test", refusal=Refusal.SIGNER)


def break_einit(world: World, how: str) -> None:
    def einit(secs: int, sigstruct: bytes, token: bytes) -> int:
        del secs, sigstruct, token
        if how == "fault":
            raise GeneralProtection("a test's")
        event = SgxError.UNMASKED_EVENT
        return event if how == "event" else SgxError.INVALID_SIGNATURE

    swap(world.driver.kernel, "einit", einit)


class Watching(StockGate):
    def __init__(self) -> None:
        self.failures: list[tuple[bytes, str]] = []

    def failed(
        self, task: Task, request: Request, decision: Decision, why: str
    ) -> None:
        assert decision.is_allowed
        assert not any(encl.initialized for encl in task.mm.encls)
        self.failures.append((request.mrsigner, why))


def test_the_gate_hears_what_einit_refused() -> None:
    world, gate = ready(), Watching()
    world.driver.gate = gate
    sigstruct = Sigstruct.from_bytes(bytes(world.scratch.data[: Sigstruct.SIZE]))
    good = world.driver.kernel.einit
    break_einit(world, "code")
    with refused(errno.EPERM):
        world.ioctl(INIT)
    assert gate.failures == [(sha256(sigstruct.modulus), "SGX_INVALID_SIGNATURE")]
    swap(world.driver.kernel, "einit", good)
    assert world.ioctl(INIT) == 0
    assert len(gate.failures) == 1


@pytest.mark.parametrize(
    ("how", "number", "why"),
    [("fault", errno.EIO, "EINIT: "), ("event", 512, None)],
)
def test_the_gate_hears_what_failed_after_it_agreed(
    how: str, number: int, why: str | None
) -> None:
    world, gate = ready(), Watching()
    world.driver.gate = gate
    world.task.signals_at, world.task.signal_asked = {2}, 0
    break_einit(world, how)
    with refused(number):
        world.ioctl(INIT)
    # What is restarted comes again, and is judged again.
    assert [why in one for _, one in gate.failures if why] == ([True] if why else [])
    assert len(gate.failures) == (1 if why else 0)


class Listing(StockGate):
    def judge(self, task: Task, request: Request) -> Decision:
        del task, request
        keys = (b"a" * 32, b"b" * 32, b"c" * 32)
        return Decision(rule="launch", reason="a test", launchkeys=keys)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("INVALID_EINITTOKEN " * 3, "INVALID_EINITTOKEN"),
        (
            "INVALID_EINITTOKEN INVALID_MEASUREMENT INVALID_EINITTOKEN",
            "INVALID_MEASUREMENT",
        ),
        (
            "INVALID_ATTRIBUTE INVALID_EINITTOKEN INVALID_CPUSVN",
            "INVALID_ATTRIBUTE",
        ),
    ],
)
def test_of_several_launch_keys_the_one_that_came_furthest_tells(
    said: str, told: str
) -> None:
    world = ready()
    world.driver.gate = Listing()
    codes = iter(SgxError[name] for name in said.split())
    swap(world.driver.kernel, "einit", lambda *_: next(codes))
    with refused(errno.EPERM, told):
        world.ioctl(INIT)
    assert next(codes, None) is None


@pytest.mark.parametrize(("number", "first", "second"), CASES)
def test_init_refuses_in_linux_order(number: int, first: str, second: str) -> None:
    changes = CHANGES.get(second, {}) | CHANGES.get(first, {})
    world = ready(**changes)
    before = world.machine.package.lepubkeyhash
    spoil(world, second)
    spoil(world, first)
    with refused(number):
        world.ioctl(INIT, 0x1234 if "arg" in (first, second) else 0x6000_0000)
    assert world.encl.initialized == (first == "initialized")
    einit_reached = first in ("fault", "code", "event")
    assert (world.machine.package.lepubkeyhash == before) is not einit_reached


@pytest.mark.parametrize("vendor", [0, 0x8086])
def test_the_two_vendors(vendor: int) -> None:
    assert ready(vendor=vendor).ioctl(INIT) == 0


def test_a_mask_that_does_not_cover_the_bit_enforces_nothing() -> None:
    world = ready(miscselect=Miscselect(4))
    assert world.ioctl(INIT) == 0


@pytest.mark.parametrize("field", ["signature", "q1", "q2", "enclavehash"])
def test_a_wrong_sigstruct_is_eperm_and_can_be_tried_again(field: str) -> None:
    world = ready()
    good = bytes(world.scratch.data)
    signed = Sigstruct.from_bytes(good[: Sigstruct.SIZE])
    wrong = bytes([getattr(signed, field)[0] ^ 1]) + getattr(signed, field)[1:]
    changed: Sigstruct = replace(cast(Any, signed), **{field: wrong})
    world.scratch.data[: Sigstruct.SIZE] = bytes(changed)
    with refused(errno.EPERM):
        world.ioctl(INIT)
    world.scratch.data[:] = good
    assert world.ioctl(INIT) == 0


def test_events_end_after_a_thousand_tries() -> None:
    world, calls = ready(), []

    def einit(secs: int, sigstruct: bytes, token: bytes) -> int:
        del sigstruct, token
        calls.append(secs)
        return SgxError.UNMASKED_EVENT

    swap(world.driver.kernel, "einit", einit)
    with refused(errno.EPERM):
        world.ioctl(INIT)
    assert len(calls) == EINIT_ROUNDS * EINIT_SPINS == 1000


def test_a_signal_is_looked_for_between_rounds() -> None:
    world, calls = ready(), []

    def einit(secs: int, sigstruct: bytes, token: bytes) -> int:
        del sigstruct, token
        calls.append(secs)
        return SgxError.UNMASKED_EVENT

    swap(world.driver.kernel, "einit", einit)
    world.task.signals_at = {world.task.signal_asked + 2}
    with refused(ERESTARTSYS):
        world.ioctl(INIT)
    assert len(calls) == 2 * EINIT_SPINS


def test_init_twice_is_einval() -> None:
    world = ready()
    world.ioctl(INIT)
    with refused(errno.EINVAL):
        world.ioctl(INIT)


def provisioned(fd: int) -> World:
    world = World()
    world.create(AttributeFlags.PROVISIONKEY)
    world.task.files = {3: world.encl, 4: world.driver.open_provision(), 5: object()}
    world.put(uapi.sgx_enclave_provision(fd=fd))
    return world


def test_the_other_device_allows_provisionkey() -> None:
    world = provisioned(4)
    assert world.ioctl(PROVISION) == 0
    world.init()


def test_without_it_provisionkey_is_eacces() -> None:
    world = provisioned(4)
    with refused(errno.EACCES):
        world.init()


@pytest.mark.parametrize("fd", [3, 5, 6, 0xFFFF_FFFF, (1 << 64) - 1])
def test_any_other_fd_is_einval(fd: int) -> None:
    world = provisioned(fd)
    with refused(errno.EINVAL):
        world.ioctl(PROVISION)
    assert not world.encl.attributes_mask & AttributeFlags.PROVISIONKEY


def test_only_32_bits_of_the_fd_count() -> None:
    assert provisioned(4 | 1 << 32).ioctl(PROVISION) == 0


def test_an_unreadable_provision_is_efault() -> None:
    with refused(errno.EFAULT):
        provisioned(4).ioctl(PROVISION, 0x1234)


def test_provision_asks_for_no_state() -> None:
    world = World()
    world.task.files = {4: world.driver.open_provision()}
    world.put(uapi.sgx_enclave_provision(fd=4))
    assert world.ioctl(PROVISION) == 0


def test_einittokenkey_can_never_be_had() -> None:
    world = World()
    world.create(AttributeFlags.EINITTOKENKEY)
    with refused(errno.EACCES):
        world.init()
