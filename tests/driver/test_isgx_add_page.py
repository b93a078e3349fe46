"""ADD_PAGE of /dev/isgx; a row for each rule."""

import errno
from dataclasses import replace
from typing import Any

import pytest

from softsgx.arch.secinfo import PageType, Secinfo, SecinfoFlags
from softsgx.arch.tcs import Tcs, TcsFlags
from softsgx.driver import isgx_uapi as uapi
from softsgx.driver.gate import StockGate
from softsgx.launch.memory import MemoryRules, Setting
from tests.driver.fakes import (
    BASE,
    PAGE,
    REG_RW,
    RW,
    RWX,
    SIZE,
    SOURCE,
    TCS,
    refused,
    swap,
    tcs_bytes,
)
from tests.driver.isgx import (
    NOWHERE,
    SECINFO_AT,
    World,
    created,
    ready,
)


def test_add_page_adds_what_the_source_had() -> None:
    world = created()
    assert world.add(3, b"hello") == 0
    encl = world.encl()
    assert bytes(encl.view[3 * PAGE : 3 * PAGE + 5]) == b"hello"
    assert encl.page(BASE + 3 * PAGE)
    assert encl.secs_child_cnt == 1
    world.driver.release(encl)
    assert world.driver.section.free == world.machine.epc.pages


def note_chunks(world: World, chunks: list[int]) -> None:
    leaf = world.driver.kernel.eextend

    def eextend(secs: int, page: int, offset: int) -> None:
        chunks.append(offset)
        leaf(secs, page, offset)

    swap(world.driver.kernel, "eextend", eextend)


def test_mrmask_says_what_is_measured() -> None:
    """The same as EEXTEND of each chunk; all of them, by the run's own way."""
    digests = set()
    for mask in (0, 1, 1 << 15, 0x5555, 0xFFFF):
        world = created()
        chunks: list[int] = []
        note_chunks(world, chunks)
        world.add(1, bytes(range(256)) * 16, mrmask=mask)
        digests.add(world.mrenclave())
        expected = [n * 256 for n in range(16) if mask >> n & 1]
        assert chunks == ([] if mask == 0xFFFF else expected)
    assert len(digests) == 5


def test_sixteen_chunks_are_a_page() -> None:
    whole, parts = created(), created()
    data = bytes(range(256)) * 16
    whole.add(1, data, mrmask=0xFFFF)
    parts.add(1, data, mrmask=0xFFFE)
    other = parts.machine.enclaves[parts.encl().secs].measurement
    assert other.digest() != whole.mrenclave()
    by_leaves = created()
    by_leaves.add(1, data)
    page = by_leaves.encl().page(BASE + PAGE)
    assert page
    for offset in range(0, PAGE, 256):
        secs_page = by_leaves.encl().secs
        by_leaves.driver.kernel.eextend(secs_page, page.epc_page, offset)
    assert by_leaves.mrenclave() == whole.mrenclave()


@pytest.mark.parametrize(
    ("fields", "number"),
    [
        ({"addr": BASE + PAGE + 1}, errno.EINVAL),
        ({"addr": NOWHERE}, errno.EINVAL),
        ({"addr": BASE + SIZE}, errno.ENOENT),
        ({"secinfo": NOWHERE}, errno.EFAULT),
    ],
)
def test_add_page_finds_its_enclave_by_address(
    fields: dict[str, int], number: int
) -> None:
    world = created()
    world.map(BASE + SIZE)
    world.put_add(1, b"", **fields)
    with refused(number):
        world.ioctl(uapi.SGX_IOC_ENCLAVE_ADD_PAGE)
    assert not world.encl().page(BASE + PAGE)


@pytest.mark.parametrize(("src", "left"), [(NOWHERE, PAGE), (SOURCE + 8, PAGE - 4088)])
def test_add_page_returns_the_bytes_that_it_could_not_copy(src: int, left: int) -> None:
    world = created()
    world.put_add(1, src=src)
    returned = world.ioctl(uapi.SGX_IOC_ENCLAVE_ADD_PAGE)
    assert returned == (PAGE if src == NOWHERE else left)
    assert not world.encl().page(BASE + PAGE)


@pytest.mark.parametrize(
    "flags",
    [
        SecinfoFlags.of(PageType.SECS, RW),
        SecinfoFlags.of(PageType.VA, RW),
        SecinfoFlags.of(PageType.TRIM, RW),
        SecinfoFlags.of(PageType.REG, 2),
        SecinfoFlags.of(PageType.REG, RW | SecinfoFlags.PENDING),
        SecinfoFlags.of(PageType.REG, RW | SecinfoFlags.PR),
        SecinfoFlags.of(PageType.REG, RW | 1 << 16),
    ],
)
def test_add_page_refuses_a_secinfo(flags: int) -> None:
    world = created()
    with refused(errno.EINVAL):
        world.add(1, kind=flags)


def test_add_page_refuses_reserved_bytes_of_secinfo() -> None:
    world = created()
    world.put_add(1)
    world.put(SECINFO_AT, bytes(Secinfo(flags=SecinfoFlags(REG_RW)))[:63] + b"\1")
    with refused(errno.EINVAL, "reserved bits of SECINFO"):
        world.ioctl(uapi.SGX_IOC_ENCLAVE_ADD_PAGE)


@pytest.mark.parametrize(
    "changes",
    [
        {"flags": TcsFlags.DBGOPTIN},
        {"flags": TcsFlags.AEXNOTIFY},
        {"ossa": PAGE + 8},
        {"ossa": SIZE},
        {"ofsbasgx": 8},
        {"ogsbasgx": SIZE},
        {"fslimit": 0},
        {"gslimit": 0xFFE},
    ],
)
def test_add_page_refuses_a_tcs(changes: dict[str, Any]) -> None:
    world = created()
    bad = replace(Tcs.from_bytes(tcs_bytes()), **changes)
    with refused(errno.EINVAL):
        world.add(0, bytes(bad), kind=TCS)


def test_add_page_refuses_reserved_bytes_of_a_tcs() -> None:
    world = created()
    with refused(errno.EINVAL, "reserved bytes of TCS"):
        world.add(0, tcs_bytes()[:72] + b"\1", kind=TCS)


def test_a_tcs_may_have_permissions_that_mean_nothing() -> None:
    plain, odd = created(), created()
    plain.add(0, tcs_bytes(), kind=TCS)
    odd.add(0, tcs_bytes(), kind=TCS | RW)
    assert plain.mrenclave() == odd.mrenclave()


def test_add_page_again_is_eexist() -> None:
    world = created()
    world.add(1)
    with refused(errno.EEXIST):
        world.add(1)


def test_add_page_in_a_full_epc() -> None:
    world = created()
    world.driver.section.alloc_run(world.driver.section.free)
    with refused(errno.ENOMEM):
        world.add(1)


def test_add_page_after_init_is_einval() -> None:
    world = ready()
    world.ioctl(uapi.SGX_IOC_ENCLAVE_INIT)
    with refused(errno.EINVAL):
        world.add(2)


def test_an_enclave_of_which_a_part_was_unmapped_grows_no_more() -> None:
    world = created()
    world.driver.munmap(world.mm, BASE + SIZE - PAGE, PAGE)
    with refused(errno.EINVAL):
        world.add(1)


def test_the_owner_is_asked_about_code() -> None:
    world = created()
    gate = StockGate()
    gate.memory = MemoryRules(execunmr=Setting.ENFORCE)
    world.driver.gate = gate
    code = SecinfoFlags.of(PageType.REG, RWX & ~2)
    assert world.add(1, kind=REG_RW) == 0
    assert world.add(2, kind=code, mrmask=0xFFFF) == 0
    with refused(errno.EACCES):
        world.add(3, kind=code, mrmask=0xFFFE)
