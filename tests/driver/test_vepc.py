"""/dev/sgx_vepc.  Linux, cpu/sgx/virt.c; each test names the function."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from softsgx.arch.faults import PFEC_I, PFEC_P, PFEC_SGX, PFEC_U, PFEC_W
from softsgx.driver.core import Core
from softsgx.driver.driver import Driver
from softsgx.driver.epc.account import Account, Scarce, Shares
from softsgx.driver.fault import Abort, Signal
from softsgx.driver.mm import Mm
from softsgx.driver.protocols import NotYetError
from softsgx.driver.uapi import (
    MAP_PRIVATE,
    MAP_SHARED,
    MAP_SHARED_VALIDATE,
    PROT_EXEC,
    PROT_READ,
    SGX_IOC_ENCLAVE_CREATE,
    SGX_IOC_VEPC_REMOVE_ALL,
)
from softsgx.driver.vepc import Vepc, VepcDevice, VepcFile
from tests.driver.fakes import PAGE, RW, FakeMemory
from tests.support import SIZE, TCS, Ring0, make_machine

PAGES = 64


class Host:
    """A host with the node, and a guest's ring 0 that works on the same EPC."""

    def __init__(self) -> None:
        self.core = Core(make_machine(pages=PAGES))
        self.device = VepcDevice(self.core)
        self.ring0 = Ring0(self.core.machine)

    def vepc(self, pages: int) -> Vepc:
        vepc = self.device.open()
        vepc.fault(0, pages)
        return vepc

    @property
    def free(self) -> int:
        return self.core.section.free


@pytest.fixture
def host() -> Host:
    return Host()


@contextmanager
def refused(number: int) -> Iterator[None]:
    with pytest.raises(OSError, match=errno.errorcode[number]) as refusal:
        yield
    assert refusal.value.errno == number


def places(vepc: Vepc) -> dict[int, int]:
    """The EPC page at each place of a file that has one."""
    return {
        run.index + at: run.first + at for run in vepc.runs for at in range(run.count)
    }


def remove_all(vepc: Vepc, arg: int = 0) -> int:
    return vepc.ioctl(SGX_IOC_VEPC_REMOVE_ALL, arg)


def test_a_mapping_is_shared(host: Host) -> None:
    # sgx_vepc_mmap
    vepc = host.device.open()
    vepc.mmap(MAP_SHARED)
    vepc.mmap(MAP_SHARED_VALIDATE)
    with refused(errno.EINVAL):
        vepc.mmap(MAP_PRIVATE)


def test_pages_come_by_faults_and_stay(host: Host) -> None:
    # __sgx_vepc_fault
    vepc = host.device.open()
    assert host.free == PAGES
    vepc.fault(7)
    first = places(vepc)
    vepc.fault(6, 3)
    vepc.fault(5)
    vepc.fault(0, 10)
    found = places(vepc)
    assert (list(found), len(set(found.values()))) == ([*range(10)], 10)
    assert (found[7], host.free) == (first[7], 54)
    assert [run.index for run in vepc.runs] == sorted(run.index for run in vepc.runs)
    with refused(errno.ENOMEM):
        vepc.fault(0, PAGES + 1)
    assert (host.free, len(places(vepc))) == (54, 10)


def test_ioctls(host: Host) -> None:
    # sgx_vepc_ioctl
    vepc = host.vepc(4)
    with refused(errno.EINVAL):
        remove_all(vepc, 1)
    with refused(errno.ENOTTY):
        vepc.ioctl(SGX_IOC_ENCLAVE_CREATE, 0)
    assert remove_all(vepc) == 0
    assert len(places(vepc)) == 4


def test_remove_all_counts_the_secs_that_wait_for_children(host: Host) -> None:
    # sgx_vepc_remove_all
    vepc = host.vepc(4)
    host.ring0.ecreate(0)
    host.ring0.eadd(1, 0)
    host.ring0.ecreate(2)
    host.ring0.eadd(3, 0, secs=2)
    assert [remove_all(vepc), remove_all(vepc)] == [2, 0]
    assert not host.core.machine.epcm.contents()


def test_remove_all_of_an_enclave_that_is_entered_is_busy(host: Host) -> None:
    # sgx_vepc_remove_all says so of SGX_ENCLAVE_ACT
    vepc = host.vepc(4)
    host.ring0.ecreate(0)
    host.ring0.eadd(1, 0, TCS)
    host.core.machine.enclaves[0].enter(5)
    with refused(errno.EBUSY):
        remove_all(vepc)


def test_release_gives_all_back_children_first(host: Host) -> None:
    # sgx_vepc_release
    vepc = host.vepc(6)
    host.ring0.ecreate(0)
    host.ring0.eadd(1, 0)
    host.ring0.eadd(2, SIZE // 2)
    host.ring0.epa(4)
    vepc.release()
    assert (host.free, host.device.zombies) == (PAGES, [])
    assert not host.core.machine.epcm.contents()


def test_a_secs_with_children_elsewhere_is_a_zombie(host: Host) -> None:
    # sgx_vepc_release has the list zombie_secs_pages
    one, two = host.vepc(2), host.vepc(2)
    host.ring0.ecreate(0)
    host.ring0.ecreate(1)
    host.ring0.eadd(2, 0, secs=0)
    host.ring0.eadd(3, 0, secs=1)
    one.release()
    assert (host.device.zombies, host.free) == ([0, 1], PAGES - 4)
    host.vepc(3).release()
    assert (host.device.zombies, host.free) == ([0, 1], PAGES - 4)
    two.release()
    assert (host.device.zombies, host.free) == ([], PAGES)


def test_younger_zombies_are_tried_before_older_ones(host: Host) -> None:
    # sgx_vepc_release: the local list is spliced on behind what is left, and is all
    files = [host.vepc(1) for _ in range(4)]
    host.ring0.ecreate(0)
    host.ring0.ecreate(1)
    host.ring0.eadd(2, 0, secs=0)
    host.ring0.eadd(3, 0, secs=1)
    files[0].release()
    files[1].release()
    assert host.device.zombies == [1, 0]
    files[2].release()
    assert host.device.zombies == [1]
    files[3].release()
    assert host.device.zombies == []


def test_pages_that_are_torn_apart_are_one_file(host: Host) -> None:
    # The EPC has holes, the file has gaps.
    ones = [host.vepc(1) for _ in range(8)]
    for one in ones[::2]:
        one.release()
    vepc = host.device.open()
    vepc.fault(10, 2)
    vepc.fault(8, 6)
    assert len(places(vepc)) == 6
    pages = places(vepc)
    host.ring0.ecreate(pages[13])
    host.ring0.eadd(pages[8], 0, secs=pages[13])
    assert [remove_all(vepc), remove_all(vepc)] == [0, 0]
    host.ring0.ecreate(pages[8])
    host.ring0.eadd(pages[13], 0, secs=pages[8])
    assert [remove_all(vepc), remove_all(vepc)] == [1, 0]
    vepc.release()
    assert host.free == PAGES - 4


def test_a_virtual_epc_of_many_gibibytes_is_emptied_at_once() -> None:
    pages = 1 << 22
    machine = make_machine(pages=pages)
    vepc = VepcDevice(Core(machine)).open()
    vepc.fault(0, pages)
    assert remove_all(vepc) == 0
    assert len(vepc.runs) == 1
    vepc.release()


AT = 0x7000_0000
READ = PFEC_U
"""The error code of a read from outside, as the processor has it."""


class Monitor:
    """A program that has the node open, and its pages from the second on mapped."""

    def __init__(self, prot: int = RW) -> None:
        self.driver = Driver(make_machine(pages=8))
        self.mm = Mm()
        self.file = self.driver.open_vepc(FakeMemory())
        where = AT, 8 * PAGE, PAGE
        self.driver.mmap_vepc(self.mm, self.file, where, prot, MAP_SHARED)

    def touch(self, page: int, code: int = READ, *, inside: bool = False) -> object:
        at = AT + page * PAGE
        return self.driver.fault(self.mm, at, code, from_enclave=inside)


def test_a_page_comes_by_the_first_touch_and_is_an_abort_page() -> None:
    # sgx_vepc_fault; the index is the offset's
    monitor = Monitor()
    assert monitor.touch(2) == Abort()
    assert list(places(monitor.file.vepc)) == [3]
    assert monitor.touch(2, PFEC_U | PFEC_W) == Abort()
    assert monitor.driver.section.free == 7


def test_without_an_epc_page_a_touch_is_sigbus() -> None:
    # sgx_vepc_fault says what it is without a page
    monitor = Monitor()
    other = monitor.driver.open_vepc(FakeMemory())
    other.vepc.fault(0, 8)
    outcome = monitor.touch(0)
    assert isinstance(outcome, Signal)
    assert (outcome.signo, outcome.si_code, outcome.address) == (7, 2, AT)
    monitor.driver.release(other)
    assert monitor.touch(0) == Abort()


def test_pages_are_in_their_users_share_until_the_file_is_closed() -> None:
    # Ours: where Linux counts them is the cgroup.
    monitor, shares = Monitor(), Shares(6)
    account = Account(1000, {Scarce.PAGES: shares})
    monitor.driver.account = lambda: account
    for end in (monitor.driver.release, VepcFile.lose):
        file = monitor.driver.open_vepc(FakeMemory())
        with refused(errno.ENOMEM):
            file.vepc.fault(0, 4)
        file.vepc.fault(0, 2)
        file.vepc.fault(1, 2)
        assert shares.room(1000) == 0
        with refused(errno.ENOMEM):
            file.vepc.fault(3)
        end(file)
        assert shares.room(1000) == 3


def test_a_page_that_the_epc_has_not_is_in_nobodys_share() -> None:
    monitor, shares = Monitor(), Shares(100)
    account = Account(1000, {Scarce.PAGES: shares})
    monitor.driver.account = lambda: account
    with refused(errno.ENOMEM):
        monitor.driver.open_vepc(FakeMemory()).vepc.fault(0, 9)
    assert shares.room(1000) == 50


def test_a_full_epc_waits_a_while_for_files_that_were_closed() -> None:
    monitor = Monitor()
    driver = monitor.driver
    other = driver.open_vepc(FakeMemory())
    other.vepc.fault(0, 8)
    driver.leaving = lambda: lambda: None
    for _ in range(16):
        with pytest.raises(NotYetError):
            monitor.touch(0)
    assert isinstance(monitor.touch(0), Signal)
    with pytest.raises(NotYetError):
        monitor.touch(0)
    driver.release(other)
    assert monitor.touch(0) == Abort()


def test_code_is_fetched_where_it_may_be_and_leaves_find_no_valid_page() -> None:
    monitor = Monitor()
    fetch = PFEC_U | PFEC_P | PFEC_I
    denied = monitor.touch(0, fetch)
    assert isinstance(denied, Signal)
    assert (denied.signo, denied.error_code) == (11, fetch)
    assert Monitor(PROT_READ | PROT_EXEC).touch(0, fetch) == Abort()
    leaf = monitor.touch(0, inside=True)
    assert isinstance(leaf, Signal)
    assert (leaf.signo, leaf.error_code) == (11, PFEC_P | PFEC_U | PFEC_SGX)


def test_a_mapping_that_is_cut_keeps_its_places() -> None:
    monitor = Monitor()
    monitor.driver.munmap(monitor.mm, AT + PAGE, PAGE)
    monitor.driver.mprotect(monitor.mm, AT + 4 * PAGE, PAGE, PROT_READ)
    for page in (0, 3, 4, 6):
        assert monitor.touch(page) == Abort()
    assert list(places(monitor.file.vepc)) == [1, 4, 5, 7]
    assert not monitor.mm.fork().vmas


@pytest.mark.parametrize(
    ("flags", "offset", "number"),
    [
        (MAP_PRIVATE, 0, errno.EINVAL),
        (MAP_SHARED, -PAGE, errno.EOVERFLOW),
    ],
)
def test_what_mmap_refuses(flags: int, offset: int, number: int) -> None:
    monitor = Monitor()
    where = AT, PAGE, offset % (1 << 64)
    with refused(number):
        monitor.driver.mmap_vepc(monitor.mm, monitor.file, where, RW, flags)
    assert isinstance(monitor.mm.vmas[0].encl, VepcFile)


def test_pages_that_come_one_by_one_are_one_run(host: Host) -> None:
    vepc = host.device.open()
    for index in range(40):
        vepc.fault(index)
    assert len(vepc.runs) == 1
