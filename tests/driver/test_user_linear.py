from collections.abc import Callable

import pytest

from softsgx.arch.faults import GeneralProtection, PageFault
from softsgx.arch.secinfo import PageType, SecinfoFlags
from softsgx.driver.fault import Resolved
from softsgx.driver.user_linear import UserLinear
from tests.driver.fakes import BASE, PAGE, RW, RWX, SCRATCH, World

R = 1
NOT_CANONICAL = 1 << 47


def built() -> tuple[World, UserLinear]:
    """Pages 1-3 RW, with page 3 mapped read-only and page 4 mapped and absent."""
    world = World()
    world.build(3)
    world.map(0, 3, RW)
    world.map(3, 1, R)
    world.map(4, 1, RWX)
    return world, UserLinear(world.mm, world.task, world.machine)


def at(index: int) -> int:
    return BASE + index * PAGE


def test_loads_and_stores_cross_pages_of_the_enclave() -> None:
    world, linear = built()
    linear.store(at(2) - 3, b"abcdef")
    assert bytes(world.memory.bytes[2 * PAGE - 3 : 2 * PAGE + 3]) == b"abcdef"
    assert linear.load(at(2) - 3, 6) == b"abcdef"


def test_page_is_the_epc_page() -> None:
    world, linear = built()
    page = world.encl.page(at(2))
    assert page is not None
    assert linear.page(at(2) + 5) == linear.page(at(2), write=True) == page.epc_page


def test_ordinary_memory_is_the_tasks() -> None:
    world, linear = built()
    linear.store(SCRATCH + 8, b"host")
    assert bytes(world.scratch.data[8:12]) == b"host"
    assert linear.load(SCRATCH + 8, 4) == b"host"


def test_nothing_is_nothing_anywhere() -> None:
    _, linear = built()
    assert linear.load(0x1234, 0) == b""
    linear.store(0x1234, b"")


@pytest.mark.parametrize(
    ("address", "read", "write"),
    [
        (at(4) + 8, 0x4, 0x6),
        (at(3) + 8, None, 0x7),
        (at(6), 0x4, 0x6),
        (0x1234, 0x4, 0x6),
    ],
)
def test_a_page_fault_tells_address_and_code(
    address: int, read: int | None, write: int
) -> None:
    _, linear = built()

    def code_of(access: Callable[[], object]) -> int:
        with pytest.raises(PageFault) as caught:
            access()
        assert caught.value.address == address
        return caught.value.error_code

    assert code_of(lambda: linear.store(address, b"x")) == write
    assert code_of(lambda: linear.page(address, write=True)) == write
    if read is not None:
        assert code_of(lambda: linear.load(address, 1)) == read
        assert code_of(lambda: linear.page(address)) == read


def test_ordinary_memory_is_not_in_the_epc() -> None:
    _, linear = built()
    for write, code in ((False, 0x8005), (True, 0x8007)):
        with pytest.raises(PageFault) as caught:
            linear.page(SCRATCH, write=write)
        assert caught.value.error_code == code


def test_no_protection_is_no_page_table_entry() -> None:
    world, linear = built()
    world.driver.mprotect(world.mm, at(1), PAGE, 0)
    with pytest.raises(PageFault) as caught:
        linear.page(at(1))
    assert caught.value.error_code == 0x4


def test_a_mapping_over_the_cap_is_no_page_table_entry() -> None:
    world = World()
    world.create()
    world.map(1, 1, RWX)
    world.add(1, 1, SecinfoFlags.of(PageType.REG, R))
    linear = UserLinear(world.mm, world.task, world.machine)
    with pytest.raises(PageFault) as caught:
        linear.load(at(1), 1)
    assert caught.value.error_code == 0x4


def test_a_store_that_faults_in_its_second_page_writes_nothing() -> None:
    world, linear = built()
    with pytest.raises(PageFault):
        linear.store(at(3) - 2, b"abcd")
    assert bytes(world.memory.bytes[3 * PAGE - 2 : 3 * PAGE]) == bytes(2)


def test_an_absent_page_comes_by_a_fault_and_a_retry() -> None:
    world, linear = built()
    with pytest.raises(PageFault) as caught:
        linear.page(at(4))
    fault = caught.value
    outcome = world.driver.fault(
        world.mm, fault.address, fault.error_code, from_enclave=True
    )
    assert outcome == Resolved()
    page = world.encl.page(at(4))
    assert page is not None
    assert linear.page(at(4)) == page.epc_page


@pytest.mark.parametrize("address", [NOT_CANONICAL, NOT_CANONICAL - 1])
def test_addresses_that_are_not_canonical(address: int) -> None:
    _, linear = built()
    with pytest.raises(GeneralProtection):
        linear.load(address, 2)
    with pytest.raises(GeneralProtection):
        linear.store(address, b"xy")
    with pytest.raises(GeneralProtection):
        linear.page(NOT_CANONICAL)
