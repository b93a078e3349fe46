"""The news of EPCM: published once, for the enclaves of this driver only."""

from dataclasses import replace

from softsgx.arch.secinfo import PageType
from softsgx.machine.epcm import EpcmEntry
from tests.driver.fakes import BASE, PAGE, FakeMemory, World


def forbid_writes(world: World, index: int) -> None:
    page = world.encl.page(BASE + index * PAGE)
    assert page is not None
    entry = world.machine.epcm[page.epc_page]
    world.machine.epcm[page.epc_page] = replace(entry, w=False)


def test_neighbours_are_told_together_and_others_apart() -> None:
    world = World()
    world.build(8)
    world.driver.drain()
    for index in (1, 2, 5, 4, 5, 6):
        forbid_writes(world, index)
    assert [(at, size) for _, at, size in world.driver.drain()] == [
        (PAGE, 2 * PAGE), (5 * PAGE, PAGE), (4 * PAGE, PAGE), (6 * PAGE, PAGE),
    ]  # fmt: skip


def test_two_enclaves_are_told_apart() -> None:
    world = World()
    world.create()
    world.add(1, 1)
    first, first_memory = world.encl, world.memory
    world.memory = FakeMemory()
    world.encl = world.driver.open(world.memory)
    world.create()
    world.add(2, 1)
    assert world.driver.drain() == [
        (first, PAGE, PAGE), (world.encl, 2 * PAGE, PAGE),
    ]  # fmt: skip
    assert (first_memory.words, world.memory.words) == ({1: 0x243}, {2: 0x243})


def test_pages_of_somebody_elses_enclave_are_not_our_news() -> None:
    world = World()
    world.build(1)
    world.driver.drain()
    world.machine.epcm[99] = EpcmEntry(
        valid=True, pt=PageType.REG, enclavesecs=98, enclaveaddress=BASE
    )
    assert world.driver.drain() == []


def test_what_is_published_is_the_latest_word() -> None:
    world = World()
    world.build(2)
    page = world.encl.page(BASE + PAGE)
    assert page is not None
    world.driver.kernel.emodpr(page.epc_page, 1)
    world.accept(1)
    world.driver.drain()
    assert world.memory.words[1] == 0x241


def test_what_changes_no_native_access_is_published_and_not_told() -> None:
    world = World()
    world.build(2)
    page = world.encl.page(BASE + PAGE)
    assert page is not None
    world.driver.kernel.emodt(page.epc_page, PageType.TRIM)
    assert world.driver.drain() == [(world.encl, PAGE, 2 * PAGE)]
    world.accept(1)
    assert world.driver.drain() == []
    assert world.memory.words[1] == PageType.TRIM << 8 | 0x40
