"""Enclaves end without a trace, and the device nodes."""

import errno

import pytest

from softsgx.arch.errors import SgxError
from softsgx.arch.msr import FeatureControl
from softsgx.arch.secinfo import PageType, Secinfo, SecinfoFlags
from softsgx.driver.device import nodes
from softsgx.driver.driver import Driver
from softsgx.driver.encl import Stretch
from softsgx.driver.epc.section import add_spare
from softsgx.machine.epcm import EpcmEntry
from softsgx.machine.model import Model
from softsgx.machine.package import OPTED_IN
from tests.driver.fakes import (
    BASE,
    PAGE,
    REG_RW,
    RWX,
    World,
    make_machine,
    refused,
    swap,
)
from tests.driver.test_edmm import MODIFY, REMOVE, call


def assert_empty(world: World) -> None:
    machine = world.machine
    assert world.driver.section.free == machine.epc.pages
    assert world.driver.section.alloc_run(machine.epc.pages) == [(0, machine.epc.pages)]
    assert not machine.enclaves
    assert not machine.epcm.contents()
    assert not world.driver.by_secs
    assert not machine.epcm.touched
    assert world.driver.drain() == []


def test_release_gives_everything_back() -> None:
    world = World()
    world.build(20, SecinfoFlags.of(PageType.REG, RWX))
    world.map(0, 64, 0)
    world.map(30, 4, RWX)
    for index in (30, 32):
        world.driver.fault(world.mm, BASE + index * PAGE, 6, from_enclave=True)
    call(world, MODIFY, 3, 1, page_type=1)
    call(world, MODIFY, 5, 4)
    world.accept(5)
    call(world, REMOVE, 5, 1)
    world.driver.mm_gone(world.mm)
    world.driver.release(world.encl)
    assert_empty(world)
    world.memory.bytes.clear()  # BufferError while a view of it is alive


@pytest.mark.parametrize("stage", ["open", "create", "add", "failed"])
def test_release_at_any_stage(stage: str) -> None:
    world = World()
    if stage != "open":
        world.create()
    if stage == "add":
        world.add(1, 3)
    if stage == "failed":
        with refused(errno.EFAULT):
            world.add(1, 7, data=bytes(5 * PAGE))
        assert world.count() == 5
    world.driver.release(world.encl)
    assert_empty(world)


def test_more_than_512_pages_take_and_return_several_va_pages() -> None:
    world = World()
    world.create(size=8 << 20)
    world.add(1, 1100)
    assert len(world.encl.versions.pages) == 3
    assert world.driver.section.free == world.machine.epc.pages - 1 - 1100 - 3
    world.driver.release(world.encl)
    assert_empty(world)


def test_a_thread_killed_inside_does_not_keep_the_enclave() -> None:
    world = World()
    world.build()
    world.machine.enclaves[world.encl.secs].enter(5)
    world.driver.release(world.encl)
    assert_empty(world)


def test_release_of_one_leaves_the_other() -> None:
    world = World()
    world.build(4)
    first, first_memory = world.encl, world.memory
    world.memory = type(first_memory)()
    world.encl = world.driver.open(world.memory)
    world.build(4)
    world.driver.release(first)
    assert world.driver.drain() == [(world.encl, PAGE, 4 * PAGE)]
    world.driver.release(world.encl)
    assert_empty(world)


def test_a_released_file_can_be_released_again() -> None:
    world = World()
    world.build()
    world.driver.release(world.encl)
    world.driver.release(world.encl)
    assert_empty(world)


def test_an_enclave_larger_than_the_reported_epc() -> None:
    model = Model(epc_bytes=1 << 20)
    world = World(model)
    add_spare(world.machine, 4 << 20)
    world.driver = Driver(world.machine)
    world.create(size=4 << 20)
    assert world.add(1, 600) == 600
    assert world.driver.section.reported == 256
    assert world.driver.section.overcommitted == 600 + 1 + 2 - 256
    world.driver.release(world.encl)
    assert_empty(world)


@pytest.mark.parametrize(
    ("model", "control", "expected"),
    [
        (Model(), None, ("sgx_enclave", "sgx_provision")),
        (Model(flc=False), None, ("isgx",)),
        (Model(sgx1=False), None, ()),
        (Model(epc_bytes=0), None, ()),
        (Model(), OPTED_IN, ("isgx",)),
        (Model(flc=False, sgx1=False), None, ()),
        (Model(flc=False, epc_bytes=0), None, ()),
        (Model(), FeatureControl(0), ()),
        (Model(sgx2=False), None, ("sgx_enclave", "sgx_provision")),
        (Model(vmx=True), None, ("sgx_enclave", "sgx_provision", "sgx_vepc")),
        (Model(vmx=True, flc=False), None, ("sgx_provision", "sgx_vepc")),
        (Model(vmx=True), FeatureControl(0), ()),
    ],
)
def test_device_nodes(
    model: Model, control: FeatureControl | None, expected: tuple[str, ...]
) -> None:
    machine = make_machine(model, pages=1)
    if control is not None:
        machine.package.feature_control = control
    assert nodes(machine) == expected


def test_a_page_that_cannot_be_removed_is_our_bug() -> None:
    world = World()
    world.build()
    page = world.encl.page(BASE + PAGE)
    assert page is not None
    swap(world.driver.kernel, "eremove", lambda _: int(SgxError.ENCLAVE_ACT))
    message = f"EREMOVE of EPC page {page.epc_page}: {int(SgxError.ENCLAVE_ACT)}"
    with pytest.raises(AssertionError, match=message):
        world.driver.remove_stretch(world.encl, Stretch(1, 1, page, 0))


def test_a_run_that_stops_early_is_our_bug() -> None:
    world = World()
    world.create()
    # three pages of which the last is in use already
    machine = world.machine
    machine.epcm[12] = EpcmEntry(valid=True, pt=PageType.REG, enclavesecs=99)
    secinfo = bytes(Secinfo(flags=SecinfoFlags(REG_RW)))
    message = "EADD of a run of 3 pages stopped after 2"
    with pytest.raises(AssertionError, match=message):
        world.driver.kernel.eadd_run(
            world.encl.secs, (10, 3), BASE, secinfo, measured=False
        )
