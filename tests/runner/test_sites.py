"""Sites: only over what really is the instruction, and known again later."""

import ctypes
import errno
import mmap
import os
import signal
from collections.abc import Iterator
from typing import Any, cast

import pytest

from softsgx.driver.mm import Vma
from softsgx.driver.protocols import NotYetError
from softsgx.native import lib
from softsgx.runner.code.host_code import HLT, INT3
from softsgx.runner.code.sites import CPUID, ENCLU, Sites
from softsgx.runner.task.caller import Caller
from softsgx.runner.task.files import Files
from softsgx.runner.task.process import Process, UserTask
from tests.driver.fakes import BASE, PAGE, RWX, World
from tests.driver.paged import evict

ENCLU_BYTES = b"\x0f\x01\xd7"
CPUID_BYTES = b"\x0f\xa2"
OTHER = b"\x0f\x0b\x90"


class Patient:
    """A child whose pages are as written here, and its task."""

    def __init__(self) -> None:
        self.world = World()
        self.world.build(4, secinfo=0x207)
        self.world.map(1, 4, RWX)
        self.sites = Sites(self.world.driver, cpuid=True)
        private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self.memory = mmap.mmap(-1, 2 * PAGE, flags=private)
        held = ctypes.c_char.from_buffer(self.memory)
        self.at = ctypes.addressof(held)
        del held
        self.process = Process(0, self.world.mm)

    def start(self, code: bytes, at: int = 0) -> UserTask:
        self.memory[at : at + len(code)] = code
        pid = os.fork()
        if pid == 0:
            signal.pause()
            os._exit(0)
        self.process.pid = pid
        return UserTask(Caller(pid), self.process, cast("Files", None))

    def stop(self) -> None:
        if self.process.pid:
            os.kill(self.process.pid, signal.SIGKILL)
            os.waitpid(self.process.pid, 0)


@pytest.fixture
def patient() -> Iterator[Patient]:
    patient = Patient()
    yield patient
    patient.stop()


def refused(patient: Patient, task: UserTask, address: int, kind: int) -> None:
    before = lib.read(task.tid, patient.at, 2 * PAGE)
    with pytest.raises(OSError) as caught:  # noqa: PT011 -- judged below
        patient.sites.patch(task, address, kind)
    assert caught.value.errno in {errno.EINVAL, errno.EFAULT}
    assert lib.read(task.tid, patient.at, 2 * PAGE) == before


@pytest.mark.parametrize(("kind", "code"), [(ENCLU, ENCLU_BYTES), (CPUID, CPUID_BYTES)])
def test_the_instruction_is_patched_and_known(
    patient: Patient, kind: int, code: bytes
) -> None:
    task = patient.start(code)
    assert not patient.sites.is_site(task, patient.at, kind)
    patient.sites.patch(task, patient.at, kind)
    assert lib.read(task.tid, patient.at, len(code)) == bytes([HLT]) + code[1:]
    assert patient.sites.is_site(task, patient.at, kind)
    assert not patient.sites.is_site(task, patient.at, ENCLU + CPUID - kind)
    assert not patient.sites.is_site(task, patient.at + 1, kind)


@pytest.mark.parametrize("kind", [ENCLU, CPUID])
@pytest.mark.parametrize("code", [OTHER, b"\xf4\x01\xd7", b"\0\0\0"])
def test_anything_else_stays(patient: Patient, kind: int, code: bytes) -> None:
    task = patient.start(code)
    refused(patient, task, patient.at, kind)
    assert not patient.sites.is_site(task, patient.at, kind)


@pytest.mark.parametrize("kind", [0, 3, -1, 1 << 63])
def test_there_are_two_kinds(patient: Patient, kind: int) -> None:
    task = patient.start(ENCLU_BYTES)
    refused(patient, task, patient.at, kind)
    assert not patient.sites.is_site(task, patient.at, kind)


@pytest.mark.parametrize("address", [0, 0x1000, (1 << 64) - PAGE, 1 << 47])
def test_nothing_is_patched_where_nothing_is(patient: Patient, address: int) -> None:
    refused(patient, patient.start(b""), address, ENCLU)


def test_an_instruction_over_a_page_border_stays(patient: Patient) -> None:
    task = patient.start(ENCLU_BYTES, PAGE - 1)
    refused(patient, task, patient.at + PAGE - 1, ENCLU)


def test_a_program_that_is_gone_is_an_error(patient: Patient) -> None:
    task = patient.start(ENCLU_BYTES)
    patient.stop()
    patient.process.pid = 0
    with pytest.raises(OSError) as caught:  # noqa: PT011 -- judged below
        patient.sites.patch(task, patient.at, ENCLU)
    assert caught.value.errno == errno.EBUSY


def enclave_page(patient: Patient, index: int) -> memoryview:
    page = patient.world.encl.page(BASE + index * PAGE)
    assert page is not None
    return patient.world.machine.epc.page(page.epc_page)


def test_in_an_enclave_the_page_is_patched(patient: Patient) -> None:
    task = patient.start(b"")
    enclave_page(patient, 1)[8:11] = ENCLU_BYTES
    measured = patient.world.mrenclave()
    patient.sites.patch(task, BASE + PAGE + 8, ENCLU)
    assert bytes(enclave_page(patient, 1)[8:11]) == b"\xf4\x01\xd7"
    assert patient.sites.is_site(task, BASE + PAGE + 8, ENCLU)
    assert not patient.sites.is_site(task, BASE + PAGE + 8, CPUID)
    assert patient.world.mrenclave() == measured
    patient.sites.forget(patient.world.encl)
    assert not patient.sites.is_site(task, BASE + PAGE + 8, ENCLU)


@pytest.mark.parametrize("index", [1, 200])
def test_in_an_enclave_anything_else_stays(patient: Patient, index: int) -> None:
    task = patient.start(b"")
    encl = patient.world.encl
    patient.world.mm.add(Vma(BASE + 150 * PAGE, encl.end, RWX, encl, 7))
    refused(patient, task, BASE + index * PAGE, ENCLU)


def test_a_tcs_is_no_code(patient: Patient) -> None:
    task = patient.start(b"")
    patient.world.map(0, 1, 3)
    enclave_page(patient, 0)[64:67] = ENCLU_BYTES
    refused(patient, task, BASE + 64, ENCLU)


def test_code_is_seen_as_it_stands_and_its_pages_come_for_it(patient: Patient) -> None:
    task = patient.start(b"")
    driver, encl = patient.world.driver, patient.world.encl
    end = BASE + 2 * PAGE
    enclave_page(patient, 1)[-4:] = b"\x90" + ENCLU_BYTES
    enclave_page(patient, 2)[:2] = b"\x0f\x0b"
    patient.sites.patch(task, end - 3, ENCLU)
    for gone in ((), (1,), (2,), (1, 2)):
        driver.drain()
        assert evict(driver, encl, *gone) == len(gone)
        seen = patient.sites.seen(task, end - 4, 6)
        assert seen == b"\x90\xf4\x01\xd7\x0f\x0b"
        assert not encl.evicted


def test_a_breakpoint_is_judged_when_a_slow_file_has_given_its_pages(
    patient: Patient,
) -> None:
    """Opened, and closed again."""
    task, encl = patient.start(b""), patient.world.encl
    site = BASE + 2 * PAGE - 2
    enclave_page(patient, 1)[-6:] = b"\x90" * 4 + CPUID_BYTES
    enclave_page(patient, 2)[:2] = b"\x90\xc3"
    for page in (site - 4, BASE + 2 * PAGE):
        patient.sites.code.fetched(encl, page, page)
    assert evict_slow(patient) == 2
    seen = []
    for do in (patient.sites.trap, patient.sites.resumed):
        for _ in range(2):
            with pytest.raises(NotYetError) as wait:
                do(task, site)
            wait.value.fetch()
        do(task, site)
        assert not encl.evicted
        seen.append(enclave_page(patient, 1)[-2])
        evict_slow(patient)
    assert seen == [CPUID_BYTES[0], INT3]


def evict_slow(patient: Patient) -> int:
    """Evict both pages of the code, each to a place that one waits for once."""
    patient.world.driver.drain()
    gone = evict(patient.world.driver, patient.world.encl, 1, 2)
    patient.world.memory.store.waits = 2
    return gone


@pytest.mark.parametrize("index", [0, 4, 5, 200])
def test_what_is_no_code_is_not_seen(patient: Patient, index: int) -> None:
    """A TCS, what lies behind the last page on either side, and what is not mapped."""
    task = patient.start(b"")
    patient.world.map(0, 1, 3)
    with pytest.raises(OSError) as caught:  # noqa: PT011 -- judged below
        patient.sites.seen(task, BASE + (index + 1) * PAGE - 1, 1 + (index == 4))
    assert caught.value.errno == errno.EFAULT


def test_a_breakpoint_of_the_programs_own_is_not_ours(patient: Patient) -> None:
    task = patient.start(b"\xcc\xa2")
    assert not patient.sites.is_site(task, patient.at, CPUID)
    assert cast("Any", task.process.sites) == {}
