"""/dev/isgx: its ioctls, its mappings, faults in them; a row for each rule."""

import errno
import os
from dataclasses import replace

import pytest

from softsgx.arch.faults import PFEC_P, PFEC_U
from softsgx.arch.secinfo import PageType, SecinfoFlags
from softsgx.driver import isgx_uapi as uapi
from softsgx.driver.fault import Resolved, Signal
from softsgx.driver.uapi import MAP_PRIVATE, MAP_SHARED
from tests.driver.fakes import (
    BASE,
    PAGE,
    RW,
    RWX,
    SIZE,
    FakeMemory,
    refused,
)
from tests.driver.isgx import (
    LOCKED,
    NOWHERE,
    World,
    ready,
)
from tests.driver.paged import evict


@pytest.mark.parametrize(
    ("cmd", "size", "number"),
    [
        (uapi.SGX_IOC_ENCLAVE_CREATE, uapi.sgx_enclave_create.SIZE, 0),
        (uapi.SGX_IOC_ENCLAVE_ADD_PAGE, uapi.sgx_enclave_add_page.SIZE, 1),
        (uapi.SGX_IOC_ENCLAVE_INIT, uapi.sgx_enclave_init.SIZE, 2),
    ],
)
def test_an_ioctls_number_has_its_structures_size(
    cmd: int, size: int, number: int
) -> None:
    assert cmd == 1 << 30 | size << 16 | 0xA4 << 8 | number
    world = World()
    with refused(errno.EFAULT):
        world.ioctl(cmd, NOWHERE)


def test_ioctls_of_linuxs_device_are_none_of_its() -> None:
    world = World()
    for cmd in (0xC030A401, 0x4008A402, 0x4010A402, 0x4008A403):
        with refused(errno.ENOTTY, f"ioctl {cmd:#x}"):
            world.ioctl(cmd)


@pytest.mark.parametrize(
    "cmd", [0x4018A409, 0x4010A40A, 0x4010A40B, 0x4010A40C, 0x4008A40D]
)
def test_there_is_no_sgx2(cmd: int) -> None:
    with refused(errno.ENOSYS):
        World().ioctl(cmd)
    with refused(errno.EFAULT):
        World().ioctl(cmd, NOWHERE)


@pytest.mark.parametrize(
    ("length", "flags", "answer"),
    [
        (0, MAP_SHARED, errno.EINVAL),
        (PAGE, MAP_SHARED, errno.EINVAL),
        (2 * PAGE, MAP_SHARED, 2 * PAGE),
        (2 * PAGE - 1, MAP_SHARED, 2 * PAGE),
        (3 * PAGE, MAP_SHARED, errno.EINVAL),
        (4 * PAGE, MAP_PRIVATE, errno.EINVAL),
        (4 * PAGE, 3, errno.EINVAL),  # MAP_SHARED_VALIDATE has MAP_PRIVATE's bit
        (1 << 36, MAP_SHARED, 1 << 36),
        (1 << 37, MAP_SHARED, errno.EINVAL),
        (1 << 48, MAP_SHARED, errno.ENOMEM),
    ],
)
def test_a_mapping_is_a_range_that_an_enclave_can_have(
    length: int, flags: int, answer: int
) -> None:
    world = World()
    if answer >= PAGE:
        assert world.driver.alignment(world.file, length, flags) == answer
        return
    with refused(answer):
        world.driver.alignment(world.file, length, flags)
    with refused(answer):
        world.driver.mmap(world.mm, world.file, BASE, length, 0, flags)
    assert not world.mm.vmas


def test_only_isgx_aligns() -> None:
    world = World()
    encl = world.driver.open(FakeMemory())
    assert world.driver.alignment(encl, 3 * PAGE, MAP_SHARED) == PAGE


def test_a_mapping_may_ask_what_it_likes() -> None:
    world = World()
    world.map(prot=RWX)
    world.create()
    world.add(1, kind=SecinfoFlags.of(PageType.REG, 1))
    world.init()
    world.driver.mprotect(world.mm, BASE, SIZE, RWX)
    # what the enclave's own page does not grant, the processor refuses
    assert world.driver.effective(world.mm, BASE + PAGE, BASE + 2 * PAGE)[0].prot == 1


def test_where_the_personality_says_so_what_is_read_is_executed() -> None:
    world = World()
    world.mm.read_implies_exec = True
    world.map(prot=RW)
    assert world.mm.vmas[0].prot == RWX


@pytest.mark.parametrize(
    ("mode", "prot", "number"),
    [
        (os.O_RDONLY, RW, errno.EACCES),
        (os.O_WRONLY, 0, errno.EACCES),
        (os.O_RDONLY, 1, 0),
    ],
)
def test_a_mapping_asks_no_more_than_the_open_did(
    mode: int, prot: int, number: int
) -> None:
    world = World()
    world.file = world.driver.open_isgx(FakeMemory(), mode)
    if not number:
        world.map(prot=prot)
        return
    with refused(number):
        world.map(prot=prot)


def test_a_child_of_fork_has_no_such_mapping() -> None:
    world = ready()
    assert not world.mm.fork().vmas


def test_where_no_page_is_there_comes_none() -> None:
    """Even on a processor with SGX2, of which it knows nothing."""
    world = World(replace(LOCKED, sgx2=True))
    world.map(prot=RW)
    world.create()
    world.add(1)
    world.init()
    outcome = world.driver.fault(world.mm, BASE + PAGE, PFEC_U, from_enclave=True)
    assert isinstance(outcome, Resolved)
    outcome = world.driver.fault(world.mm, BASE + 2 * PAGE, PFEC_U, from_enclave=True)
    assert isinstance(outcome, Signal)
    assert (outcome.signo, outcome.error_code & PFEC_P) == (7, 0)


@pytest.mark.parametrize(
    ("spoil", "comes"),
    [("", True), ("torn", False), ("uninitialized", False)],
)
def test_a_page_comes_back_only_to_a_whole_enclave_that_runs(
    spoil: str, *, comes: bool
) -> None:
    world = World()
    world.map(prot=RW)
    encl = world.create()
    world.add(1, b"here")
    if spoil != "uninitialized":
        world.init()
    assert evict(world.driver, encl, 1) == 1
    if spoil == "torn":
        world.driver.munmap(world.mm, BASE + SIZE - PAGE, PAGE)
    outcome = world.driver.fault(world.mm, BASE + PAGE, PFEC_U, from_enclave=True)
    assert isinstance(outcome, Resolved) is comes
    assert comes or (isinstance(outcome, Signal) and outcome.signo == 7)
