import errno
from collections.abc import Callable

import pytest

from softsgx.arch.secinfo import PageType, Secinfo, SecinfoFlags
from softsgx.driver import uapi
from softsgx.driver.encl import EnclPage
from softsgx.driver.errnos import ERESTARTSYS
from softsgx.machine.epcm import EpcmEntry
from softsgx.machine.measurement import Measurement
from softsgx.machine.model import Model
from tests.driver.fakes import (
    ARGS,
    BASE,
    PAGE,
    REG_RW,
    SCRATCH,
    SIZE,
    SOURCE,
    TCS,
    World,
    refused,
    tcs_bytes,
)

ADD = uapi.SGX_IOC_ENCLAVE_ADD_PAGES
NO_COUNT = 0xDEAD // PAGE


def created(model: Model | None = None, pages: int = 0) -> World:
    world = World(model, pages)
    world.create()
    return world


def ready(count: int = 4) -> World:
    """A world whose arguments are those of an ADD_PAGES that works."""
    world = created()
    world.source(b"\x5a" * count * PAGE)
    world.add_struct(1, count)
    world.scratch.data[:64] = bytes(Secinfo(flags=REG_RW))
    return world


def patterned(count: int) -> bytes:
    return b"".join(bytes([at % 251 + 1]) * PAGE for at in range(count))


def test_added_pages_have_the_sources_bytes() -> None:
    world = created()
    data = patterned(5)
    assert world.add(3, 5, data=data) == 5
    assert bytes(world.memory.bytes[3 * PAGE : 8 * PAGE]) == data
    assert world.encl.secs_child_cnt == world.machine.enclaves[world.encl.secs].children
    for at in range(5):
        page = world.encl.page(BASE + (3 + at) * PAGE)
        assert page is not None
        assert (
            world.machine.epcm[page.epc_page].enclaveaddress == BASE + (3 + at) * PAGE
        )
        assert bytes(world.machine.epc.page(page.epc_page)) == data[at * PAGE :][:PAGE]


@pytest.mark.parametrize("measure", [False, True])
def test_mrenclave_is_that_of_the_records(measure: bool) -> None:  # noqa: FBT001 -- data
    world = created()
    data = patterned(600)
    expected = Measurement()
    expected.ecreate(1, SIZE)
    count = min(600, SIZE // PAGE - 1)
    world.add(1, count, data=data[: count * PAGE], measure=measure)
    secinfo = bytes(Secinfo(flags=REG_RW))
    for at in range(count):
        offset = (1 + at) * PAGE
        expected.eadd(offset, secinfo)
        for start in range(0, PAGE if measure else 0, 256):
            chunk = data[at * PAGE + start :][:256]
            expected.eextend(offset + start, chunk)
    assert world.mrenclave() == expected.digest()


def test_a_tcs_is_added_measured_and_capped_rw() -> None:
    world = created()
    world.add(0, 2, TCS, tcs_bytes() * 2, measure=True)
    page = world.encl.page(BASE + PAGE)
    assert page is not None
    assert (page.type, page.vm_max_prot) == (PageType.TCS, 3)
    expected = Measurement()
    expected.ecreate(1, SIZE)
    for offset in (0, PAGE):
        expected.eadd(offset, bytes(Secinfo(flags=TCS)))
        for start in range(0, PAGE, 256):
            expected.eextend(offset + start, tcs_bytes()[start : start + 256])
    assert world.mrenclave() == expected.digest()


@pytest.mark.parametrize("prot", [0, 1, 3, 4, 5, 7])
def test_the_cap_of_a_page_is_its_secinfo(prot: int) -> None:
    world = created()
    assert world.add(1, 2, SecinfoFlags.of(PageType.REG, prot)) == 2
    page = world.encl.page(BASE + PAGE)
    assert page is not None
    assert page.vm_max_prot == prot


def test_other_flag_bits_and_the_old_count_are_ignored() -> None:
    world = ready()
    world.add_struct(1, 4, flags=~1 & (1 << 64) - 1)
    world.ioctl(ADD)
    assert world.count() == 4
    unmeasured = Measurement()
    unmeasured.ecreate(1, SIZE)
    unmeasured.eadd_run(PAGE, 4, bytes(Secinfo(flags=REG_RW)))
    assert world.mrenclave() == unmeasured.digest()


BAD_SECINFO = bytes(64)

EARLY = [
    (errno.EINVAL, "created", "arg"),
    (errno.EINVAL, "initialized", "arg"),
    (errno.EFAULT, "arg", "src"),
    (errno.EINVAL, "src", "secinfo"),
    (errno.EINVAL, "offset", "secinfo"),
    (errno.EINVAL, "length0", "secinfo"),
    (errno.EINVAL, "length", "secinfo"),
    (errno.EINVAL, "wrap", "secinfo"),
    (errno.EINVAL, "end", "secinfo"),
    (errno.EFAULT, "secinfo", "signal"),
    (errno.EINVAL, "reserved", "signal"),
]

FIELDS: dict[str, dict[str, int]] = {
    "src": {"src": SOURCE + 8},
    "offset": {"offset": 8},
    "length0": {"length": 0},
    "length": {"length": PAGE + 1},
    "wrap": {"offset": (1 << 64) - PAGE, "length": 2 * PAGE},
    "end": {"offset": SIZE - PAGE, "length": 2 * PAGE},
    "secinfo": {"secinfo": SCRATCH + 2 * PAGE - 63},
}


@pytest.mark.parametrize(("number", "first", "second"), EARLY)
def test_add_pages_refuses_in_linux_order(number: int, first: str, second: str) -> None:
    world = ready()
    fields: dict[str, int] = {}
    for wrong in (second, first):
        fields |= FIELDS.get(wrong, {})
        if wrong == "created":
            world.encl.created = False
        elif wrong == "initialized":
            world.encl.initialized = True
        elif wrong == "signal":
            world.task.signals_at = {1}
        elif wrong == "reserved":
            world.scratch.data[8] = 1
    world.add_struct(1, 4, **fields)
    with refused(number):
        world.ioctl(ADD, 0x1234 if "arg" in (first, second) else ARGS)
    assert world.count() == NO_COUNT, "count is not written before the pages' turn"


def test_the_last_page_of_the_enclave_can_be_added() -> None:
    world = created()
    assert world.add(SIZE // PAGE - 1, 1) == 1


@pytest.mark.parametrize(
    "flags",
    [
        0x000, 0x300, 0x400, 0x500, 0x202, 0x206, 0x101, 0x103, 0x104,
        0x208, 0x210, 0x220, 0x240, 0x10200, 0x203 | 1 << 63,
    ],
)  # fmt: skip
def test_secinfo_flags_that_linux_refuses(flags: int) -> None:
    world = ready()
    world.scratch.data[:8] = flags.to_bytes(8, "little")
    with refused(errno.EINVAL):
        world.ioctl(ADD)


@pytest.mark.parametrize("byte", [8, 63])
def test_secinfo_reserved_bytes_must_be_zero(byte: int) -> None:
    world = ready()
    world.scratch.data[byte] = 0x80
    with refused(errno.EINVAL):
        world.ioctl(ADD)


def full_but(world: World, pages: int) -> None:
    world.driver.section.alloc_run(world.driver.section.free - pages)


def test_a_full_epc_stops_with_the_pages_that_fit() -> None:
    world = ready()
    full_but(world, 3)
    with refused(errno.ENOMEM):
        world.ioctl(ADD)
    assert world.count() == 3
    assert world.driver.section.free == 0


def test_what_others_add_now_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    world = ready()
    [theirs] = world.driver.section.alloc_run(world.driver.section.free)
    waits = []

    def wait_for(fetch: Callable[[], None]) -> None:
        fetch()
        waits.append(fetch)
        if len(waits) == 2:
            world.driver.section.give(*theirs)
            world.driver.arriving = 0

    monkeypatch.setattr(world.task, "wait_for", wait_for)
    world.driver.arriving = 4
    world.ioctl(ADD)
    assert (world.count(), len(waits)) == (4, 2)


def test_a_signal_ends_the_wait_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    world = ready()
    full_but(world, 0)
    waits: list[None] = []
    pending = world.task.signal_pending
    monkeypatch.setattr(world.task, "wait_for", lambda _: waits.append(None))
    monkeypatch.setattr(
        world.task, "signal_pending", lambda: len(waits) > 2 or pending()
    )
    world.driver.arriving = 4
    with refused(ERESTARTSYS):
        world.ioctl(ADD)
    assert len(waits) == 3


def test_the_page_that_needs_a_va_page_too_does_not_fit() -> None:
    world = World(pages=600)
    world.create(size=4 << 20)
    full_but(world, 512)
    with refused(errno.ENOMEM):
        world.add(1, 600)
    # the SECS and 511 pages share the first VA page; the 512th would need a second
    assert world.count() == 511
    assert world.driver.section.free == 1


LATE = [
    # page 2 of 4 is wrong in both ways; the earlier check wins
    (errno.ENOMEM, "full", "exists"),
    (errno.EBUSY, "exists", "novma"),
    (errno.EBUSY, "exists", "noexec"),
    (errno.EFAULT, "novma", "novma"),
    (errno.EACCES, "noexec", "unreadable"),
    (errno.EFAULT, "unreadable", "unreadable"),
]


@pytest.mark.parametrize(("number", "first", "second"), LATE)
def test_the_page_that_stops_is_refused_in_linux_order(
    number: int, first: str, second: str
) -> None:
    world = ready()
    half = patterned(2)
    for wrong in {first, second}:
        if wrong == "full":
            full_but(world, 2)
        elif wrong == "exists":
            world.encl.set_run(3, 1, EnclPage(0, PageType.REG, 3))
        elif wrong == "novma":
            world.source(half)
        elif wrong in ("noexec", "unreadable"):
            world.source(half)
            region = world.task.add(SOURCE + 2 * PAGE, half)
            region.may_exec = "noexec" not in (first, second)
            region.readable = "unreadable" not in (first, second)
    free = world.driver.section.free
    with refused(number):
        world.ioctl(ADD)
    assert world.count() == 2
    assert bytes(world.memory.bytes[3 * PAGE : 5 * PAGE]) == bytes(2 * PAGE)
    assert world.driver.section.free == free - 2
    assert world.encl.page_cnt == 3
    assert world.encl.page(BASE + 4 * PAGE) is None


def test_a_signal_before_the_first_page_restarts() -> None:
    world = ready()
    world.task.signals_at = {1}
    with refused(ERESTARTSYS):
        world.ioctl(ADD)
    assert world.count() == 0


def test_a_later_signal_gives_a_short_count_and_success() -> None:
    world = World(pages=1 << 16)
    world.create(size=16 << 20)
    world.task.signals_at = {2}
    assert world.add(1, 3000) == 2048
    world.task.signals_at = set()
    assert world.add(2049, 952) == 952


def bad_tcs() -> bytes:
    return tcs_bytes()[:-1] + b"\1"


def test_what_eadd_refuses_is_eio_and_the_page_is_dropped() -> None:
    world = created()
    free = world.driver.section.free
    with refused(errno.EIO):
        world.add(0, 3, TCS, tcs_bytes() + bad_tcs() + tcs_bytes())
    assert world.count() == 1
    assert world.driver.section.free == free - 1
    assert world.encl.page_cnt == 2
    assert world.encl.secs_child_cnt == 1
    assert bytes(world.memory.bytes[PAGE : 3 * PAGE]) == bytes(2 * PAGE)
    assert world.encl.page(BASE + PAGE) is None
    assert world.add(1, 1, TCS, tcs_bytes()) == 1


def test_a_dropped_page_gives_its_va_page_back() -> None:
    world = World()
    world.create(size=4 << 20)
    world.add(1, 511)
    free = world.driver.section.free
    with refused(errno.EIO):
        world.add(512, 1, TCS, bad_tcs())
    assert world.driver.section.free == free
    assert len(world.encl.versions.pages) == 1


def test_count_is_written_even_on_an_error_and_efault_wins() -> None:
    world = ready()
    world.encl.set_run(2, 1, EnclPage(0, PageType.REG, 3))
    world.args.writable = False
    with refused(errno.EFAULT):
        world.ioctl(ADD)
    assert world.encl.page(BASE + PAGE) is not None, "the page before it stays"


def test_added_pages_are_published() -> None:
    world = created()
    world.add(1, 3)
    assert world.driver.drain() == [(world.encl, PAGE, 3 * PAGE)]
    assert world.memory.words == {1: 0x243, 2: 0x243, 3: 0x243}
    assert world.driver.drain() == []


def test_fragmented_epc_serves_one_call() -> None:
    world = created()
    section = world.driver.section
    taken = section.alloc_run(20)
    assert taken == [(2, 20)]
    for free in range(2, 22, 2):
        section.give(free)
    data = patterned(15)
    world.add(1, 15, data=data, measure=True)
    assert bytes(world.memory.bytes[PAGE : 16 * PAGE]) == data
    entries = []
    for index in range(1, 16):
        page = world.encl.page(BASE + index * PAGE)
        assert page is not None
        entries.append(world.machine.epcm[page.epc_page])
    assert all(isinstance(entry, EpcmEntry) and entry.valid for entry in entries)
    assert [e.enclaveaddress for e in entries] == [
        BASE + i * PAGE for i in range(1, 16)
    ]
