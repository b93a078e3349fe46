"""CREATE, and what holds for every ioctl."""

import errno
from dataclasses import replace

import pytest

from softsgx.arch.secs import AttributeFlags, Secs
from softsgx.driver import uapi
from softsgx.driver.encl import Encl
from softsgx.machine.model import Model
from tests.driver.fakes import (
    ARGS,
    BASE,
    PAGE,
    SCRATCH,
    SIZE,
    FakeBacking,
    World,
    refused,
    secs,
    swap,
)

CREATE = uapi.SGX_IOC_ENCLAVE_CREATE


def fresh(**fields: int) -> World:
    """A world whose arguments are those of a CREATE that works."""
    world = World()
    world.put(uapi.sgx_enclave_create(**({"src": SCRATCH} | fields)), bytes(secs()))
    return world


def put_secs(world: World, changed: Secs) -> None:
    world.scratch.data[:PAGE] = bytes(changed)


def test_create_makes_an_enclave() -> None:
    world = fresh()
    assert world.ioctl(CREATE) == 0
    encl = world.encl
    assert (encl.base, encl.size, encl.created, encl.debug) == (BASE, SIZE, True, False)
    assert len(world.memory.bytes) == SIZE
    assert world.machine.enclaves[encl.secs].secs.size == SIZE
    # the SECS, and a VA page for the first 512 pages
    assert world.driver.section.free == world.machine.epc.pages - 2


def test_the_struct_and_the_secs_need_no_alignment() -> None:
    world = fresh(src=SCRATCH + 8)
    world.scratch.data[8 : 8 + PAGE] = bytes(secs())
    world.args.data[24:32] = world.args.data[:8]
    assert world.ioctl(CREATE, ARGS + 24) == 0


def test_debug_is_remembered() -> None:
    world = World()
    world.create(AttributeFlags.DEBUG)
    assert world.encl.debug


BAD_SIZE = replace(secs(), size=3 * PAGE)
HUGE = replace(secs(), size=1 << 63)
UNALIGNED = replace(secs(), baseaddr=BASE + PAGE)

CASES = [
    # what is wrong, earliest check first; each case has all that follow it wrong too
    (errno.EINVAL, ["created", "arg", "src", BAD_SIZE]),
    (errno.EFAULT, ["arg", "src", BAD_SIZE]),
    (errno.EFAULT, ["src", BAD_SIZE, "full"]),
    (errno.EINVAL, [BAD_SIZE, "full", "memory"]),
    (errno.ENOMEM, ["full", HUGE]),
    (errno.EINVAL, [HUGE, "memory"]),
    (errno.EINVAL, [replace(secs(), size=0)]),
    (errno.ENOMEM, ["full", UNALIGNED]),
    (errno.EIO, [UNALIGNED, "memory"]),
    (errno.EMFILE, ["memory"]),
]


def spoil(world: World, wrong: object) -> int:
    """Make one thing wrong; return the address of the arguments."""
    if isinstance(wrong, Secs):
        put_secs(world, wrong)
    elif wrong == "created":
        world.encl.created = True
    elif wrong == "src":
        world.put(uapi.sgx_enclave_create(src=SCRATCH + 2 * PAGE - 1))
    elif wrong == "full":
        world.driver.section.alloc_run(world.driver.section.free)
    elif wrong == "memory":
        world.memory.refuses = errno.EMFILE
    return 0x1234 if wrong == "arg" else ARGS


@pytest.mark.parametrize(("number", "wrongs"), CASES)
def test_create_refuses_in_linux_order(number: int, wrongs: list[object]) -> None:
    world = fresh()
    free = world.driver.section.free
    arg = min(spoil(world, wrong) for wrong in wrongs)
    with refused(number):
        world.ioctl(CREATE, arg)
    if "created" not in wrongs:
        assert not world.encl.created
        taken = free if "full" in wrongs else 0
        assert world.driver.section.free + taken == free
        assert not world.driver.by_secs
        assert not world.machine.enclaves


def test_room_for_a_va_page_only_is_no_room() -> None:
    world = fresh()
    world.driver.section.alloc_run(world.driver.section.free - 1)
    with refused(errno.ENOMEM):
        world.ioctl(CREATE)
    assert world.driver.section.free == 1
    assert world.encl.page_cnt == 0


@pytest.mark.parametrize(
    "changed",
    [
        UNALIGNED,
        replace(secs(), ssaframesize=0),
        replace(secs(), attributes=replace(secs().attributes, xfrm=0)),
        replace(secs(), size=1 << 40),
        secs(flags=AttributeFlags.INIT),
        secs(flags=1 << 3),
    ],
)
def test_what_ecreate_refuses_is_eio_and_can_be_tried_again(changed: Secs) -> None:
    world = fresh()
    put_secs(world, changed)
    with refused(errno.EIO):
        world.ioctl(CREATE)
    put_secs(world, secs())
    assert world.ioctl(CREATE) == 0


def test_create_twice_is_einval() -> None:
    world = fresh()
    world.ioctl(CREATE)
    with refused(errno.EINVAL):
        world.ioctl(CREATE)


def test_an_unknown_number_is_enotty() -> None:
    for cmd in (0, uapi.SGX_IOC_VEPC_REMOVE_ALL, 0xA4FF, CREATE | 1 << 16):
        with refused(errno.ENOTTY):
            World().ioctl(cmd)


def test_only_32_bits_of_the_number_count() -> None:
    assert fresh().ioctl(CREATE | 1 << 40) == 0


def test_the_other_device_has_no_ioctls() -> None:
    world = fresh()
    with refused(errno.ENOTTY):
        world.driver.ioctl(world.driver.open_provision(), world.task, CREATE, ARGS)


def test_a_second_ioctl_meanwhile_is_ebusy_whatever_its_number() -> None:
    world = fresh()
    asked: list[int] = []
    copy = world.task.copy_from_user

    def interrupted(addr: int, size: int) -> bytes:
        with refused(errno.EBUSY):
            world.ioctl(0xDEAD)
        asked.append(addr)
        return copy(addr, size)

    swap(world.task, "copy_from_user", interrupted)
    world.ioctl(CREATE)
    assert asked == [ARGS, SCRATCH]
    swap(world.task, "copy_from_user", copy)
    with refused(errno.EINVAL):
        world.ioctl(CREATE)


def test_every_open_is_an_enclave_of_its_own() -> None:
    world = fresh()
    world.ioctl(CREATE)
    other = world.driver.open(world.memory)
    assert isinstance(other, Encl)
    assert other is not world.encl
    assert not other.created


def test_a_provision_shown_before_create_is_lost() -> None:
    world = fresh()
    world.task.files[7] = world.driver.open_provision()
    world.put(uapi.sgx_enclave_provision(fd=7))
    world.ioctl(uapi.SGX_IOC_ENCLAVE_PROVISION)
    world.create(AttributeFlags.PROVISIONKEY)
    with refused(errno.EACCES):
        world.init()


def test_a_model_without_a_feature_refuses_its_attribute() -> None:
    world = World(Model(kss=False))
    with refused(errno.EIO):
        world.create(AttributeFlags.KSS)


def backed(world: World, fd: int, src: int = SCRATCH) -> int:
    struct = uapi.sgx_enclave_create_backed(src=src, backing_fd=fd)
    world.put(struct, bytes(secs()))
    return world.ioctl(uapi.SGX_IOC_ENCLAVE_CREATE_BACKED)


def test_a_backing_file_is_kept_while_the_enclave_is() -> None:
    world, backing = World(), FakeBacking()
    world.task.files[3] = backing
    assert backed(world, 3) == 0
    assert world.encl.backing is backing
    world.driver.release(world.encl)
    assert backing.closed


def test_no_backing_file_is_as_before() -> None:
    world = World()
    assert backed(world, 0) == 0
    assert world.encl.created
    assert world.encl.backing is None


def test_what_is_no_backing_file_is_refused() -> None:
    world = World()
    world.task.files[3] = object()
    with refused(errno.EINVAL, "no regular file"):
        backed(world, 3)
    assert not world.encl.created


def test_an_enclave_is_no_backing_file() -> None:
    world = World()
    world.task.files[3] = world.encl
    with refused(errno.EINVAL, "a device"):
        backed(world, 3)


def test_a_create_that_fails_lets_the_backing_file_go() -> None:
    world, backing = World(), FakeBacking()
    world.task.files[3] = backing
    with refused(errno.EFAULT):
        backed(world, 3, src=1)
    assert backing.closed
