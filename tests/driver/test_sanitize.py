"""A driver that comes to a machine on which another one ran."""

from softsgx.arch.secinfo import PageType, SecinfoFlags
from softsgx.driver.driver import Driver
from softsgx.driver.epc.sanitize import sanitize
from softsgx.driver.epc.section import Section
from softsgx.driver.kernel import Kernel
from tests.driver.fakes import RWX, World


def dirty() -> World:
    world = World()
    world.build(20, SecinfoFlags.of(PageType.REG, RWX))
    return world


def test_a_second_driver_finds_the_epc_clean() -> None:
    world = dirty()
    machine = world.machine
    (secs,) = machine.enclaves
    machine.enclaves[secs].enter(7)
    driver = Driver(machine)
    assert not machine.enclaves
    assert not machine.epcm.contents()
    assert not machine.epc.contents()
    assert driver.section.free == machine.epc.pages
    assert driver.drain() == []


def test_a_secs_goes_in_the_second_pass() -> None:
    """Its page comes first here: with its children there EREMOVE refuses it."""
    machine = dirty().machine
    (secs,) = machine.enclaves
    children = [n for n, entry in machine.epcm.contents().items() if entry.enclavesecs]
    assert secs < min(children)
    assert Kernel(machine).eremove(secs) != 0
    dirty_pages = len(machine.epcm.contents())
    section = Section([(0, machine.epc.pages)], 0)
    assert sanitize(machine, Kernel(machine), section) == dirty_pages
