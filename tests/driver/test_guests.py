"""The drivers of a host and of guests, on one machine: each has its own pages."""

import errno

from softsgx.driver.core import GuestParts
from softsgx.driver.driver import Driver
from softsgx.driver.fault import Resolved
from softsgx.driver.kernel import Kernel
from softsgx.driver.uapi import SGX_IOC_VEPC_REMOVE_ALL
from softsgx.driver.vepc import Vepc
from tests.driver.fakes import PAGE, FakeMemory, refused
from tests.driver.paged import Paged

EPC = 150
SMALL = 40


def torn(host: Driver, pages: int) -> Vepc:
    """A virtual EPC whose pages lie in many runs."""
    spacers, vepc = host.vepc.open(), host.vepc.open()
    for at in range(pages):
        vepc.fault(at)
        if at % 7 == 0:
            spacers.fault(at)
    spacers.release()
    assert len(vepc.runs) > 3
    return vepc


class InGuest(Paged):
    """A program in a guest, on the machine of a host."""

    def __init__(self, host: Driver, vepc: Vepc) -> None:
        super().__init__()
        self.machine = host.machine.with_package(host.machine.package)
        self.vepc = vepc
        self.boot()

    def boot(self) -> None:
        """Have a Linux whose driver begins."""
        runs = [(run.first, run.count) for run in self.vepc.runs]
        guest = GuestParts(self.machine, Kernel(self.machine), runs)
        self.driver = Driver(self.machine, pages=True, guest=guest)
        self.memory = FakeMemory()
        self.encl = self.driver.open(self.memory)
        self.tables.memory = self.memory

    def pages(self) -> set[int]:
        used = self.machine.epcm.contents()
        return {page for page in used if self.vepc.has(page)}


def test_each_has_its_pages_though_none_has_enough() -> None:
    host = Paged(EPC)
    one, two = (InGuest(host.driver, torn(host.driver, SMALL)) for _ in range(2))
    worlds = (host, one, two)
    for world in worlds:
        world.ready(100)
    assert len({world.encl.eid for world in worlds}) == 3
    for index in range(1, 101):
        for world in worlds:
            assert world.touch(index) == Resolved()
            assert world.content(index) == (index - 1) % 251 + 1
    for world, pages in ((one, SMALL), (two, SMALL), (host, EPC)):
        assert world.encl.evicted
        assert world.driver.section.pages == pages
    used = host.machine.epcm.contents()
    assert len(used) == EPC - sum(world.driver.section.free for world in worlds)
    assert one.pages().isdisjoint(two.pages())
    others = len(used) - len(one.pages()) - len(two.pages())
    assert others == host.encl.secs_child_cnt + 1 + len(host.encl.versions.pages)


def test_news_of_a_guests_pages_are_no_matter_of_the_hosts() -> None:
    host = Paged(EPC)
    one = InGuest(host.driver, torn(host.driver, SMALL))
    host.ready(3)
    one.ready(3)
    page = one.encl.numbered(1)
    assert page
    one.driver.kernel.emodpr(page.epc_page, 1)
    assert host.driver.drain() == []
    assert one.driver.drain() == [(one.encl, PAGE, PAGE)]


def test_a_guest_that_is_reset_boots_with_an_empty_epc() -> None:
    host = Paged(EPC)
    one = InGuest(host.driver, torn(host.driver, SMALL))
    host.ready(20)
    one.ready(60)
    left = [one.vepc.ioctl(SGX_IOC_VEPC_REMOVE_ALL, 0) for _ in range(2)]
    assert (left[1], one.pages()) == (0, set())
    one.boot()
    assert one.driver.section.free == SMALL
    one.ready(60)
    for index in range(1, 21):
        host.touch(index)
        assert host.content(index) == index
    one.driver.release(one.encl)
    one.vepc.release()
    host.driver.release(host.encl)
    assert host.driver.section.free == EPC
    assert not host.machine.epcm.contents()


def test_a_guest_gets_nothing_of_what_its_host_has_free() -> None:
    host = Paged(EPC)
    one = InGuest(host.driver, torn(host.driver, SMALL))
    one.driver.reclaimer = None
    one.create()
    one.fill(SMALL - 2)
    with refused(errno.ENOMEM):
        one.fill(1, first=SMALL)
    assert host.driver.section.free == EPC - SMALL
