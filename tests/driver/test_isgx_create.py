"""CREATE of /dev/isgx; a row for each rule."""

import errno
from dataclasses import replace

import pytest

from softsgx.arch.secs import AttributeFlags, Attributes, Miscselect, Secs
from softsgx.driver import isgx_uapi as uapi
from softsgx.driver.uapi import TASK_SIZE
from tests.driver.fakes import (
    BASE,
    PAGE,
    SIZE,
    refused,
    secs,
)
from tests.driver.isgx import (
    LOCKED,
    NOWHERE,
    SECS_AT,
    TOKEN_AT,
    World,
    created,
)


def test_create_makes_the_mapping_an_enclave() -> None:
    world = created()
    encl = world.encl()
    assert (encl.base, encl.size, encl.created) == (BASE, SIZE, True)
    assert encl.by_address
    assert encl.memory is world.task.memories[0]
    assert (encl.vma_count, world.file.blank.vma_count) == (1, 0)
    assert world.mm in encl.mms
    # the SECS, and a VA page
    assert world.driver.section.free == world.machine.epc.pages - 2


def test_one_open_file_has_many_enclaves() -> None:
    world = created()
    world.map(BASE + SIZE)
    world.create(secs(base=BASE + SIZE))
    assert world.encl() is not world.encl(BASE + SIZE)
    assert world.add(1) == world.add(0, addr=BASE + SIZE) == 0
    assert world.encl(BASE + SIZE).page(BASE + SIZE)
    assert not world.encl().page(BASE)


def attributes(flags: int, xfrm: int = 3) -> Secs:
    return replace(
        secs(), attributes=Attributes(flags=AttributeFlags(flags), xfrm=xfrm)
    )


MODE64 = AttributeFlags.MODE64BIT


@pytest.mark.parametrize(
    ("wanted", "number"),
    [
        (replace(secs(), size=PAGE), errno.EINVAL),
        (replace(secs(), size=3 * PAGE), errno.EINVAL),
        (replace(secs(), size=1 << 37, baseaddr=0), errno.EINVAL),
        (replace(secs(), baseaddr=BASE + PAGE), errno.EINVAL),
        (attributes(0), errno.EINVAL),
        (attributes(MODE64 | AttributeFlags.INIT), errno.EINVAL),
        (attributes(MODE64 | 1 << 3), errno.EINVAL),
        (attributes(MODE64 | AttributeFlags.AEXNOTIFY), errno.EINVAL),
        # it knows KSS, this processor does not
        (attributes(MODE64 | AttributeFlags.KSS), errno.EFAULT),
        (attributes(MODE64, xfrm=1), errno.EINVAL),
        (attributes(MODE64, xfrm=3 | 1 << 9), errno.EINVAL),
        (attributes(MODE64, xfrm=3 | 1 << 3), errno.EINVAL),
        (replace(secs(), miscselect=Miscselect.CPINFO), errno.EINVAL),
        (replace(secs(), ssaframesize=0), errno.EINVAL),
        (replace(secs(), cet_attributes=1), errno.EINVAL),
        (replace(secs(), cet_leg_bitmap_offset=PAGE), errno.EINVAL),
        # the mapping has another range
        (secs(SIZE * 2), errno.EINVAL),
        (secs(SIZE // 2), errno.EINVAL),
        (secs(base=BASE + SIZE), errno.EINVAL),
    ],
)
def test_create_refuses_a_secs(wanted: Secs, number: int) -> None:
    world = World()
    world.map()
    world.put_create(wanted)
    with refused(number):
        world.ioctl(uapi.SGX_IOC_ENCLAVE_CREATE)
    assert_nothing_is_made(world)


def assert_nothing_is_made(world: World) -> None:
    assert not world.encl().created
    assert not world.machine.enclaves
    assert not world.driver.by_secs
    assert world.driver.section.free == world.machine.epc.pages
    assert all(memory.closed for memory in world.task.memories)


def test_a_frame_for_xfrm_must_fit() -> None:
    world = World(replace(LOCKED, xfrm=0x602E7))
    world.map()
    with_amx = replace(secs(), attributes=attributes(MODE64, 0x60003).attributes)
    world.put_create(with_amx)
    with refused(errno.EINVAL, "SSAFRAMESIZE 1"):
        world.ioctl(uapi.SGX_IOC_ENCLAVE_CREATE)
    world.create(replace(with_amx, ssaframesize=4))


def test_exinfo_is_for_a_processor_that_has_it() -> None:
    wanted = replace(secs(), miscselect=Miscselect.EXINFO)
    for model, number in ((LOCKED, 0), (replace(LOCKED, exinfo=False), errno.EINVAL)):
        world = World(model)
        world.map()
        world.put_create(wanted)
        if not number:
            assert world.ioctl(uapi.SGX_IOC_ENCLAVE_CREATE) == 0
            continue
        with refused(number):
            world.ioctl(uapi.SGX_IOC_ENCLAVE_CREATE)


@pytest.mark.parametrize("at", [24, 40, 100, 170, 262, 4095])
def test_create_refuses_reserved_bytes(at: int) -> None:
    world = World()
    world.map()
    raw = bytearray(bytes(secs()))
    raw[at] = 1
    world.put_create(secs())
    world.put(SECS_AT, bytes(raw))
    with refused(errno.EINVAL):
        world.ioctl(uapi.SGX_IOC_ENCLAVE_CREATE)
    assert_nothing_is_made(world)


def test_create_wants_a_mapping_that_nobody_touched() -> None:
    world = World()
    world.put_create(secs())
    with refused(errno.EINVAL, "no free mapping at"):
        world.ioctl(uapi.SGX_IOC_ENCLAVE_CREATE)
    world.map()
    world.driver.mprotect(world.mm, BASE, PAGE, 1)  # which makes it two
    with refused(errno.EINVAL, "the mapping ends at 0x1000001000, not 0x1000100000"):
        world.ioctl(uapi.SGX_IOC_ENCLAVE_CREATE)
    world.map()
    world.create()
    with refused(errno.EINVAL, "no free mapping at"):
        world.ioctl(uapi.SGX_IOC_ENCLAVE_CREATE)


def test_a_failed_create_leaves_nothing() -> None:
    world = World()
    world.put_create(secs())
    world.map(BASE + SIZE)
    with refused(errno.EINVAL):
        world.ioctl(uapi.SGX_IOC_ENCLAVE_CREATE)
    (memory,) = world.task.memories
    assert memory.closed
    assert not world.machine.enclaves
    assert world.driver.section.free == world.machine.epc.pages


def test_create_in_a_full_epc() -> None:
    world = World()
    world.map()
    world.driver.section.alloc_run(world.driver.section.free)
    world.put_create(secs())
    with refused(errno.ENOMEM):
        world.ioctl(uapi.SGX_IOC_ENCLAVE_CREATE)
    assert world.task.memories[0].closed


@pytest.mark.parametrize(
    ("src", "left"),
    [
        (NOWHERE, PAGE),
        (TOKEN_AT + PAGE - 24, PAGE - 24),
        (TASK_SIZE - 1, PAGE),
        ((1 << 64) - 1, PAGE),
    ],
)
def test_create_returns_the_bytes_that_it_could_not_copy(src: int, left: int) -> None:
    world = World()
    world.map()
    world.put_create(secs(), src)
    assert world.ioctl(uapi.SGX_IOC_ENCLAVE_CREATE) == left
    assert_nothing_is_made(world)
