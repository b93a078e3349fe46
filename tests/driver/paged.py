"""An EPC that is too small, and a process that maps an enclave in it."""

import errno

from softsgx.arch.addr import PAGE_SHIFT
from softsgx.driver.driver import Driver
from softsgx.driver.encl import Encl
from softsgx.driver.epc.runs import runs_of
from softsgx.driver.paging.pages import Send, write_out
from softsgx.machine.model import Model
from tests.driver.fakes import BASE, PAGE, RW, TCS, FakeMemory, World, tcs_bytes

READ, WRITE = 4, 6
EPC = 40
"""Pages: one for each of SECS, TCS and a version array, and 37 for others."""


def evict(driver: Driver, encl: Encl, *indices: int, send: Send | None = None) -> int:
    """Evict pages of an enclave; return how many went."""
    return write_out(driver, encl, list(runs_of(indices)), send)


class FakeTables:
    """A process's page tables, which remember what was asked of them."""

    def __init__(self, memory: FakeMemory) -> None:
        self.can_evict = True
        self.changing = False
        self.refuses = False
        self.memory = memory
        self.protected: set[int] = set()
        self.seen: list[tuple[str, list[tuple[int, int]]]] = []

    def protect(self, encl: Encl, runs: list[tuple[int, int]]) -> None:
        del encl
        if self.refuses:
            raise OSError(errno.ENOMEM, "no page table")
        self.seen.append(("protect", runs))
        for first, count in runs:
            for index in range(first, first + count):
                assert self.memory.words[index] == 0, "agents were not told before"
                self.protected.add(index)

    def watch(self, encl: Encl) -> bool:
        del encl
        return not self.changing

    def changes(self, tid: int) -> bool:
        del tid
        return False

    def changed(self, tid: int) -> None:
        del tid

    def close(self) -> None:
        pass

    def unprotect(self, encl: Encl, runs: list[tuple[int, int]]) -> None:
        del encl
        self.seen.append(("unprotect", runs))
        for first, count in runs:
            self.protected -= set(range(first, first + count))


class Paged(World):
    """A small EPC, and a process that maps the enclave."""

    def __init__(self, pages: int = EPC, model: Model | None = None) -> None:
        super().__init__(model, pages)
        self.driver = Driver(self.machine, pages=True)
        self.encl = self.driver.open(self.memory)
        self.tables = FakeTables(self.memory)
        self.mm.tables = self.tables

    def fill(self, count: int, *, first: int = 1) -> None:
        data = b"".join(bytes([index % 251 + 1]) * PAGE for index in range(count))
        for at in range(0, count, 16):
            part = data[at * PAGE : (at + 16) * PAGE]
            self.add(first + at, len(part) // PAGE, data=part)
        self.driver.drain()

    def ready(self, count: int) -> None:
        """An initialized enclave, mapped, with a TCS and *count* pages."""
        self.create()
        self.add(0, 1, TCS, tcs_bytes())
        self.fill(count)
        self.init()
        self.map(0, count + 1, RW)
        self.driver.drain()

    def touch(self, index: int, code: int = READ) -> object:
        at = BASE + index * PAGE
        outcome = self.driver.fault(self.mm, at, code, from_enclave=True)
        self.driver.drain()
        return outcome

    def content(self, index: int) -> int:
        """Return the one byte that all of a page is."""
        (value,) = set(self.memory.bytes[index * PAGE :][:PAGE])
        return value

    def out(self) -> set[int]:
        pages = range(self.encl.size >> PAGE_SHIFT)
        found = {index: self.encl.page(BASE + index * PAGE) for index in pages}
        return {index for index, page in found.items() if page and page.evicted}
