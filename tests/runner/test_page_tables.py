"""Which mappings of a process its page tables know, and when they are looked for."""

import mmap
import os
import threading

import pytest

from softsgx.driver.driver import Driver
from softsgx.driver.encl import Encl
from softsgx.machine.model import Model
from softsgx.native.memory import SharedMemory
from softsgx.native.userfault import Userfault
from softsgx.runner.task.page_tables import PageTables
from tests.driver.fakes import PAGE, make_machine

SIZE = 4 * PAGE


class Registered(Userfault):
    """A userfaultfd that only remembers what was registered."""

    def __init__(self) -> None:
        self.fd = -1
        self.starts: list[int] = []

    def register(self, start: int, length: int) -> None:
        assert length == SIZE
        self.starts.append(start)

    def close(self) -> None:
        pass


@pytest.fixture
def encl() -> Encl:
    memory = SharedMemory("tables")
    memory.resize(SIZE)
    encl = Driver(make_machine(Model(epc_bytes=1 << 20))).open(memory)
    encl.size = SIZE
    return encl


def one_more(encl: Encl) -> mmap.mmap:
    """Map the enclave once more, as an agent does."""
    assert isinstance(encl.memory, SharedMemory)
    return mmap.mmap(encl.memory.fd, SIZE)


def watched(tables: PageTables, userfault: Registered, encl: Encl) -> int:
    """Return how many mappings were registered just now."""
    userfault.starts.clear()
    tables.watch(encl)
    return len(userfault.starts)


def test_mappings_are_looked_for_until_the_agent_says_that_it_made_them(
    encl: Encl,
) -> None:
    userfault, tid = Registered(), threading.get_native_id()
    tables = PageTables(os.getpid(), userfault, lambda: None)
    assert watched(tables, userfault, encl) == 1
    assert watched(tables, userfault, encl) == 0
    assert tables.changes(tid)
    assert watched(tables, userfault, encl) == 1
    with one_more(encl):
        assert watched(tables, userfault, encl) == 2
        assert not tables.watch(encl), "there may be one more by now"
        tables.changed(tid)
        assert tables.watch(encl)
        tables.changes(tid)
        tables.changed(tid)
        assert watched(tables, userfault, encl) == 2
        assert watched(tables, userfault, encl) == 0


def test_nobody_waits_for_a_thread_that_is_gone(encl: Encl) -> None:
    userfault = Registered()
    tables = PageTables(os.getpid(), userfault, lambda: None)
    tables.changes(0x7FFF_FFFF)
    assert watched(tables, userfault, encl) == 1
    assert watched(tables, userfault, encl) == 0
