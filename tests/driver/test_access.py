"""A debugger's reads and writes."""

import errno

import pytest

from softsgx.arch.faults import PageFault
from softsgx.arch.secs import AttributeFlags
from softsgx.driver.access import access
from softsgx.driver.mm import Vma
from tests.driver.fakes import BASE, PAGE, RW, RWX, World, refused, swap

DEBUG = int(AttributeFlags.DEBUG)


def built(flags: int = DEBUG, prot: int = RW) -> tuple[World, Vma]:
    world = World()
    world.create(flags)
    world.map(1, 3, prot)
    world.add(1, 2, data=bytes(range(256)) * 32)
    world.init()
    return world, world.mm.vmas[0]


@pytest.mark.parametrize(("offset", "size"), [(0, 8), (3, 2), (5, 9), (PAGE - 3, 7)])
def test_a_debugger_reads_any_bytes(offset: int, size: int) -> None:
    world, vma = built()
    expected = (bytes(range(256)) * 32)[offset : offset + size]
    assert access(world.driver, vma, BASE + PAGE + offset, size) == expected


@pytest.mark.parametrize(("offset", "size"), [(0, 8), (3, 2), (5, 9), (PAGE - 3, 7)])
def test_a_debugger_writes_those_bytes_only(offset: int, size: int) -> None:
    world, vma = built()
    before = bytes(world.memory.bytes)
    data = b"\xee" * size
    access(world.driver, vma, BASE + PAGE + offset, size, data)
    at = PAGE + offset
    assert bytes(world.memory.bytes) == before[:at] + data + before[at + size :]


def test_an_enclave_without_debug_is_efault() -> None:
    world, vma = built(0)
    with refused(errno.EFAULT):
        access(world.driver, vma, BASE + PAGE, 8)


def test_a_missing_page_is_efault() -> None:
    world, vma = built()
    with refused(errno.EFAULT):
        access(world.driver, vma, BASE + 3 * PAGE - 4, 8)


def test_a_mapping_over_the_cap_is_efault() -> None:
    world, vma = built(prot=RWX)
    with refused(errno.EFAULT):
        access(world.driver, vma, BASE + PAGE, 8)


@pytest.mark.parametrize("leaf", ["edbgrd", "edbgwr"])
def test_what_the_processor_refuses_is_eio(leaf: str) -> None:
    world, vma = built()

    def faults(*operands: int) -> int:
        raise PageFault(operands[0])

    swap(world.driver.kernel, leaf, faults)
    with refused(errno.EIO):
        access(world.driver, vma, BASE + PAGE, 8, b"x" * 8)
