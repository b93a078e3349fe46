import pytest

from softsgx.arch.faults import PFEC_W, PageFault
from softsgx.machine.memory import EPC_BASE, FlatMemory, epc_address


@pytest.fixture
def memory() -> FlatMemory:
    flat = FlatMemory(8)
    flat.put(0x2000, b"two")
    flat.put(0x1000, b"one")
    return flat


def test_loads_what_was_put(memory: FlatMemory) -> None:
    assert memory.load(0x1000, 3) == b"one"
    assert memory.load(0x2001, 2) == b"wo"


def test_a_later_buffer_at_the_same_place_replaces(memory: FlatMemory) -> None:
    memory.put(0x1000, b"another")
    assert memory.load(0x1000, 7) == b"another"


def test_a_shared_buffer_is_written_through(memory: FlatMemory) -> None:
    shared = bytearray(8)
    memory.put(0x3000, shared)
    memory.store(0x3002, b"ab")
    assert shared == b"\0\0ab\0\0\0\0"


@pytest.mark.parametrize(("address", "size"), [(0xFFF, 1), (0x1001, 3), (0x9000, 1)])
def test_faults_where_nothing_is(memory: FlatMemory, address: int, size: int) -> None:
    with pytest.raises(PageFault) as load:
        memory.load(address, size)
    assert (load.value.address, load.value.error_code) == (address, 0)
    with pytest.raises(PageFault) as store:
        memory.store(address, bytes(size))
    assert (store.value.address, store.value.error_code) == (address, PFEC_W)


def test_resolves_the_addresses_of_the_epc(memory: FlatMemory) -> None:
    assert memory.page(epc_address(0)) == 0
    assert memory.page(epc_address(7) + 4095) == 7
    for address in (EPC_BASE - 1, epc_address(8), 0x1000):
        with pytest.raises(PageFault, match="not in the EPC"):
            memory.page(address)


def test_the_epc_reads_as_ones_and_drops_writes(memory: FlatMemory) -> None:
    memory.store(epc_address(3), b"secret")
    assert memory.load(epc_address(3), 6) == b"\xff" * 6
