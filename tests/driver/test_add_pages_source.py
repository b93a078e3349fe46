"""Where ADD_PAGES may take its pages from."""

import errno

import pytest

from softsgx.arch.secinfo import Secinfo
from softsgx.driver import uapi
from tests.driver.fakes import PAGE, REG_RW, SOURCE, World, refused, swap
from tests.driver.test_add_pages import ADD, created, ready


@pytest.mark.parametrize(("before", "done"), [(-1, 0), (0, 0), (2, 2)])
def test_an_enclave_is_no_source(before: int, done: int) -> None:
    world = ready()
    start = SOURCE + before * PAGE
    world.driver.mmap(world.mm, world.encl, start, 2 * PAGE, 1, uapi.MAP_SHARED)
    with refused(errno.EFAULT, "in an enclave"):
        world.ioctl(ADD)
    assert world.count() == done


def test_a_noexec_source_in_an_enclave_is_noexec_first() -> None:
    world = ready()
    world.source(bytes(4 * PAGE), may_exec=False)
    world.driver.mmap(world.mm, world.encl, SOURCE, PAGE, 1, uapi.MAP_SHARED)
    with refused(errno.EACCES):
        world.ioctl(ADD)


def test_an_enclave_beside_the_source_does_not_matter() -> None:
    world = ready()
    for start in (SOURCE - PAGE, SOURCE + 4 * PAGE):
        world.driver.mmap(world.mm, world.encl, start, PAGE, 1, uapi.MAP_SHARED)
    world.ioctl(ADD)
    assert world.count() == 4


def test_zero_pages_before_a_hole_stay_zero() -> None:
    world = ready()
    world.source(bytes(2 * PAGE))
    world.task.add(SOURCE + 2 * PAGE, bytes(2 * PAGE)).readable = False
    with refused(errno.EFAULT):
        world.ioctl(ADD)
    assert world.count() == 2
    assert not any(world.memory.bytes)


def test_a_hole_that_is_filled_meanwhile_is_none() -> None:
    world = ready()
    copy, calls = world.task.copy_into, []

    def once_unreadable(addr: int, view: memoryview) -> bool:
        calls.append(addr)
        return len(calls) > 1 and copy(addr, view)

    swap(world.task, "copy_into", once_unreadable)
    world.ioctl(ADD)
    assert world.count() == 4


def test_a_vma_above_the_source_is_asked_as_linux_asks() -> None:
    # find_vma finds the next mapping, and only then is the page missing
    world = ready()
    world.task.regions = [r for r in world.task.regions if r.start != SOURCE]
    world.task.add(SOURCE + 16 * PAGE, bytes(PAGE), may_exec=False)
    with refused(errno.EACCES):
        world.ioctl(ADD)
    assert world.count() == 0


def test_a_noexec_source_is_refused_for_data_pages_too() -> None:
    world = created()
    with refused(errno.EACCES):
        world.source(bytes(PAGE))
        world.add_struct(1, 1)
        world.scratch.data[:64] = bytes(Secinfo(flags=REG_RW))
        world.source(bytes(PAGE), may_exec=False)
        world.ioctl(ADD)


def test_the_source_is_copied_in_pieces_of_eight_mebibytes() -> None:
    world = World(pages=1 << 16)
    world.create(size=32 << 20)
    world.add(1, 4172)
    assert [size for _, size in world.task.copies] == [8 << 20, 8 << 20, 76 * PAGE]


@pytest.mark.parametrize(("pages", "piece"), [(1 << 14, 512), (256, 16)])
def test_no_piece_takes_more_than_a_part_of_the_epc(pages: int, piece: int) -> None:
    """Those that add meanwhile must find room, though nothing of it can be evicted."""
    world = World(pages=pages)
    world.create(size=32 << 20)
    world.add(1, 2 * piece + 1)
    assert [size // PAGE for _, size in world.task.copies] == [piece, piece, 1]
