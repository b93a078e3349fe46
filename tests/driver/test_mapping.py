"""mmap, mprotect, munmap and what is effective."""

import errno
import os

import pytest

from softsgx.arch.secinfo import PageType, SecinfoFlags
from softsgx.driver import mapping, uapi
from softsgx.driver.mm import Mm
from tests.driver.fakes import BASE, PAGE, RW, RWX, SIZE, TCS, World, refused, tcs_bytes

R, W, X = 1, 2, 4
SHARED, PRIVATE = uapi.MAP_SHARED, uapi.MAP_PRIVATE


def built() -> World:
    """Page 0 a TCS, 1-2 RW, 3-4 RX, 5 RWX, the rest absent; initialized."""
    world = World()
    world.create()
    world.add(0, 1, TCS, tcs_bytes())
    for index, count, prot in ((1, 2, RW), (3, 2, R | X), (5, 1, RWX)):
        world.add(index, count, SecinfoFlags.of(PageType.REG, prot))
    world.init()
    return world


def at(index: int) -> int:
    return BASE + index * PAGE


# --- mmap ----------------------------------------------------------------------------


def test_before_create_any_address_can_be_mapped() -> None:
    world = World()
    for prot in (R, X):
        world.driver.mmap(world.mm, world.encl, 0x1000, PAGE, prot, SHARED)
        world.driver.munmap(world.mm, 0x1000, PAGE)
    assert world.mm.vmas == []


def test_before_init_the_range_is_not_checked() -> None:
    world = World()
    world.create()
    world.driver.mmap(world.mm, world.encl, BASE + 2 * SIZE, PAGE, RWX, SHARED)
    assert world.mm.find(BASE + 2 * SIZE) is not None


@pytest.mark.parametrize(
    ("index", "count"), [(-1, 1), (-1, 2), (SIZE // PAGE, 1), (SIZE // PAGE - 1, 2)]
)
def test_after_init_a_mapping_must_lie_in_the_enclave(index: int, count: int) -> None:
    start, end = at(index), at(index + count)
    with refused(errno.EACCES, f"{start:#x} to {end:#x} leaves the enclave"):
        built().map(index, count, 0)


def test_a_process_has_no_more_mappings_than_linux_lets_it_have(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = built()
    world.map(0, 6, 0)
    world.driver.mprotect(world.mm, at(1), PAGE, R)
    monkeypatch.setattr(mapping, "MOST_MAPPINGS", len(world.mm.vmas))
    with refused(errno.ENOMEM, "too many mappings"):
        world.map(7, 1, 0)
    cut = "too many mappings, one of them to be cut"
    with refused(errno.ENOMEM, cut):
        world.driver.mprotect(world.mm, at(3), PAGE, R)
    with refused(errno.ENOMEM, cut):
        world.driver.munmap(world.mm, at(2), PAGE)
    world.driver.mprotect(world.mm, at(2), 4 * PAGE, R)
    world.driver.munmap(world.mm, at(2), 4 * PAGE)
    world.map(7, 1, 0)


def test_after_init_the_whole_enclave_can_be_mapped_inaccessible() -> None:
    world = built()
    world.map(0, SIZE // PAGE, 0)
    assert world.encl.vma_count == 1


@pytest.mark.parametrize(
    ("index", "count", "prot"),
    [
        (0, 1, X),
        (1, 1, X),
        (1, 2, RWX),
        (3, 1, W),
        (3, 1, RW),
        (2, 2, RW),
        (2, 2, R | X),
        (0, 6, RW),
    ],
)
def test_a_mapping_may_not_ask_more_than_any_page_declared(
    index: int, count: int, prot: int
) -> None:
    with refused(errno.EACCES):
        built().map(index, count, prot)


@pytest.mark.parametrize(
    ("index", "count", "prot"),
    [
        (0, 1, RW),
        (0, 3, RW),
        (1, 2, R),
        (3, 2, R | X),
        (3, 3, R | X),
        (5, 1, RWX),
        (0, 6, R),
        (0, 6, 0),
        (6, 4, RWX),
    ],
)
def test_a_mapping_may_ask_what_all_its_pages_declared(
    index: int, count: int, prot: int
) -> None:
    world = built()
    world.map(index, count, prot)
    vma = world.mm.find(at(index))
    assert vma is not None
    assert (vma.end, vma.prot) == (at(index + count), prot)


VALIDATE = uapi.MAP_SHARED_VALIDATE
MAP_SYNC = 0x8_0000

ORDER = [
    # earlier check first, each with what follows wrong too
    (errno.EINVAL, {"flags": SHARED | uapi.MAP_HUGETLB, "length": 1 << 47}),
    (errno.EINVAL, {"length": 0, "start": uapi.TASK_SIZE + PAGE}),
    (errno.ENOMEM, {"length": uapi.TASK_SIZE + 1, "flags": PRIVATE}),
    (errno.EINVAL, {"flags": PRIVATE, "start": uapi.TASK_SIZE}),
    (errno.EINVAL, {"flags": PRIVATE | uapi.MAP_FIXED}),
    (errno.ENOMEM, {"start": uapi.TASK_SIZE + 1}),
    (errno.EINVAL, {"start": at(0) + 1, "mode": os.O_RDONLY}),
    (errno.EINVAL, {"flags": 0, "mode": os.O_RDONLY}),
    (errno.EACCES, {"prot": RW, "mode": os.O_RDONLY}),
    (errno.EOPNOTSUPP, {"flags": VALIDATE | MAP_SYNC, "mode": os.O_RDONLY}),
    (errno.EOPNOTSUPP, {"flags": VALIDATE | 0x8000_0000}),
    (errno.EACCES, {"flags": SHARED | uapi.MAP_GROWSDOWN, "mode": os.O_RDONLY}),
    (errno.EINVAL, {"flags": SHARED | uapi.MAP_GROWSDOWN, "prot": RWX}),
    (errno.EACCES, {"prot": R, "mode": os.O_WRONLY}),
]


@pytest.mark.parametrize(("number", "wrong"), ORDER)
def test_mmap_refuses_in_linux_order(number: int, wrong: dict[str, int]) -> None:
    world = built()
    world.encl.mode = wrong.get("mode", os.O_RDWR)
    asked = {"start": at(1), "length": PAGE, "prot": RW, "flags": SHARED} | wrong
    asked.pop("mode", None)
    with refused(number):
        world.driver.mmap(world.mm, world.encl, **asked)
    assert world.mm.vmas == []


@pytest.mark.parametrize("length", [uapi.TASK_SIZE, PAGE])
def test_a_mapping_may_end_where_addresses_end(length: int) -> None:
    world, start = World(), uapi.TASK_SIZE - length
    world.driver.mmap(world.mm, world.encl, start, length, R, SHARED)
    assert world.mm.vmas[0].end == uapi.TASK_SIZE


def test_lengths_are_rounded_up_to_pages() -> None:
    world = built()
    world.driver.mmap(world.mm, world.encl, at(1), PAGE + 1, R, SHARED)
    assert world.mm.vmas[0].end == at(3)


@pytest.mark.parametrize(
    "flags",
    [VALIDATE, VALIDATE | 0x7C03_F873, SHARED | MAP_SYNC | 0x80, SHARED | 0x8000_0000],
)
def test_flags_that_a_mapping_may_have(flags: int) -> None:
    world = built()
    world.map(1, 1, RW, flags)
    assert world.mm.vmas[0].prot == RW


def test_a_refused_mapping_leaves_the_old_one() -> None:
    world = built()
    world.map(1, 1, RW)
    with refused(errno.EACCES):
        world.map(1, 1, RWX, SHARED | uapi.MAP_FIXED)
    assert world.mm.find(at(1)) is not None


def test_the_provision_device_cannot_be_mapped() -> None:
    world = built()
    for flags in (SHARED, PRIVATE):
        with refused(errno.ENODEV):
            device = world.driver.open_provision()
            world.driver.mmap(world.mm, device, at(0), PAGE, R, flags)


@pytest.mark.parametrize("prot", [0, R])
def test_read_implies_exec_is_refused_whatever_is_asked(prot: int) -> None:
    world = built()
    world.map(1, 1, RW)
    world.mm.read_implies_exec = True
    with refused(errno.EACCES):
        world.map(2, 1, prot)
    with refused(errno.EACCES):
        world.driver.mprotect(world.mm, at(1), PAGE, prot)
    with refused(errno.EACCES):
        world.driver.may_map(world.encl, at(1), at(2), prot, exec_implied=True)
    world.driver.may_map(world.encl, at(1), at(2), prot)


# --- mprotect -------------------------------------------------------------------------


def test_mprotect_changes_a_part_of_a_mapping() -> None:
    world = built()
    world.map(0, 3, RW)
    world.driver.mprotect(world.mm, at(1), 1, R)
    assert [(v.start, v.prot) for v in world.mm.vmas] == [
        (at(0), RW), (at(1), R), (at(2), RW),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("number", "start", "length", "prot"),
    [
        (errno.EINVAL, 1, 0, 0),
        (errno.EINVAL, 0, PAGE, uapi.PROT_GROWSDOWN | uapi.PROT_GROWSUP),
        (errno.ENOMEM, 0, (1 << 64) - at(1), 0x10),
        (errno.EINVAL, 0, PAGE, 0x10),
        (errno.EINVAL, 0, PAGE, R | uapi.PROT_GROWSDOWN),
        (errno.EINVAL, 0, PAGE, R | uapi.PROT_GROWSUP),
        (errno.EACCES, 0, PAGE, X),
    ],
)
def test_mprotect_refuses_in_linux_order(
    number: int, start: int, length: int, prot: int
) -> None:
    world = built()
    world.map(1, 1, RW)
    with refused(number):
        world.driver.mprotect(world.mm, at(1) + start, length, prot)
    assert world.mm.vmas[0].prot == RW


def test_mprotect_of_nothing_does_nothing() -> None:
    world = built()
    world.driver.mprotect(world.mm, at(0), 0, 0x10)
    world.driver.mprotect(world.mm, at(0), PAGE, RWX)


def test_where_no_enclave_begins_growing_is_the_callers_affair() -> None:
    world = built()
    world.map(1, 1, RW)
    world.driver.mprotect(world.mm, at(0), 2 * PAGE, R | uapi.PROT_GROWSDOWN)
    assert world.mm.vmas[0].prot == R


def test_earlier_pieces_stay_changed_when_a_later_one_is_refused() -> None:
    world = built()
    world.map(1, 2, R)
    world.map(3, 2, R)
    with refused(errno.EACCES):
        world.driver.mprotect(world.mm, at(2), 2 * PAGE, RW)
    assert [(v.start, v.prot) for v in world.mm.vmas] == [
        (at(1), R), (at(2), RW), (at(3), R),
    ]  # fmt: skip


def test_a_file_opened_for_reading_never_becomes_writable() -> None:
    world = built()
    world.encl.mode = os.O_RDONLY
    world.map(1, 1, R)
    with refused(errno.EACCES):
        world.driver.mprotect(world.mm, at(1), PAGE, RW)
    world.encl.mode = os.O_RDWR
    with refused(errno.EACCES):
        world.driver.mprotect(world.mm, at(1), PAGE, RW)


def test_mprotect_keeps_the_range_rule_after_init() -> None:
    world = World()
    world.create()
    world.driver.mmap(world.mm, world.encl, BASE + SIZE, PAGE, R, SHARED)
    world.init()
    with refused(errno.EACCES):
        world.driver.mprotect(world.mm, BASE + SIZE, PAGE, 0)


def test_protections_beyond_rwx_are_not_kept() -> None:
    world = built()
    world.map(1, 1, RW)
    world.driver.mprotect(world.mm, at(1), PAGE, R | uapi.PROT_SEM)
    assert world.mm.vmas[0].prot == R


# --- munmap ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "length"),
    [
        (1, PAGE),
        (0, 0),
        (uapi.TASK_SIZE, PAGE),
        (uapi.TASK_SIZE + PAGE, 0),
        (0, uapi.TASK_SIZE + PAGE),
    ],
)
def test_munmap_refuses(start: int, length: int) -> None:
    with refused(errno.EINVAL):
        built().driver.munmap(Mm(), start, length)


def test_contents_and_state_outlive_all_mappings() -> None:
    world = built()
    world.map(1, 2, RW)
    world.memory.bytes[PAGE] = 7
    world.driver.munmap(world.mm, at(0), SIZE)
    assert world.encl.vma_count == 0
    world.map(1, 2, RW)
    assert world.memory.bytes[PAGE] == 7
    assert world.driver.effective(world.mm, at(1), at(2))[0].prot == RW
