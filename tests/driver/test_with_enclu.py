"""The driver's flows with the enclave's own part done by the real leaf."""

from softsgx import enclu
from softsgx.arch.errors import SgxError
from softsgx.arch.faults import PageFault
from softsgx.arch.leaves import Enclu
from softsgx.arch.secinfo import PageType, Secinfo, SecinfoFlags
from softsgx.driver.fault import Resolved, Signal
from softsgx.driver.user_linear import UserLinear
from softsgx.machine.processor import Processor
from tests.driver.fakes import BASE, PAGE, RWX, SIZE, World
from tests.driver.test_edmm import MODIFY, REMOVE, RESTRICT, call

SECINFO = BASE + PAGE
REG_PENDING = 0x20B
TRIM_MODIFIED = 0x410
READ_PR = 0x221


class Thread:
    """A thread inside: it executes ENCLU, and retries what the driver resolves."""

    def __init__(self, world: World) -> None:
        self.world = world
        memory = UserLinear(world.mm, world.task, world.machine)
        self.lp = Processor(9, memory)
        self.lp.enclave_mode = True
        self.lp.cr_active_secs = world.encl.secs
        self.lp.cr_elrange = (BASE, SIZE)
        world.machine.enclaves[world.encl.secs].enter(9)

    def eaccept(self, index: int, flags: int) -> int | Signal:
        """Return RAX, or the signal."""
        secinfo = bytes(Secinfo(flags=SecinfoFlags(flags)))
        self.lp.memory.store(SECINFO, secinfo)
        regs = self.lp.regs
        while True:
            regs.rax, regs.rbx = Enclu.EACCEPT, SECINFO
            regs.rcx = BASE + index * PAGE
            try:
                enclu.execute(self.world.machine, self.lp, Enclu.EACCEPT)
            except PageFault as fault:
                outcome = self.world.driver.fault(
                    self.world.mm, fault.address, fault.error_code, from_enclave=True
                )
                if isinstance(outcome, Signal):
                    return outcome
                assert outcome == Resolved()
            else:
                return regs.rax


def built() -> tuple[World, Thread]:
    world = World()
    world.build(6)
    world.map(0, 7, 3)
    world.map(7, 9, RWX)
    return world, Thread(world)


def test_eaccept_of_an_absent_page_augments_it() -> None:
    world, thread = built()
    assert thread.eaccept(8, REG_PENDING) == SgxError.SUCCESS
    assert world.epcm(8) == 0x243
    assert (
        world.driver.effective(world.mm, BASE + 8 * PAGE, BASE + 9 * PAGE)[0].prot == 3
    )


def test_a_restricted_page_is_accepted_by_who_was_inside() -> None:
    world, thread = built()
    call(world, RESTRICT, 2, 2)
    assert thread.eaccept(2, READ_PR) == SgxError.SUCCESS
    assert world.epcm(2) == 0x241


def test_trim_accept_remove_and_augment_again() -> None:
    world, thread = built()
    world.memory.bytes[2 * PAGE : 5 * PAGE] = b"x" * 3 * PAGE
    assert call(world, MODIFY, 2, 3) == 3
    for index in (2, 3, 4):
        assert thread.eaccept(index, TRIM_MODIFIED) == SgxError.SUCCESS
    assert call(world, REMOVE, 2, 3) == 3, "a thread inside does not hinder"
    assert thread.eaccept(3, REG_PENDING) == SgxError.SUCCESS
    assert bytes(world.memory.bytes[3 * PAGE : 4 * PAGE]) == bytes(PAGE)


def test_a_wrong_secinfo_is_a_mismatch() -> None:
    _, thread = built()
    assert thread.eaccept(8, 0x209) == SgxError.PAGE_ATTRIBUTES_MISMATCH


def test_eaccept_where_nothing_is_mapped_is_a_signal() -> None:
    _, thread = built()
    assert thread.eaccept(20, REG_PENDING) == Signal(11, 1, BASE + 20 * PAGE, 14, 4)


def test_the_tests_own_accept_is_eaccept() -> None:
    world, thread = built()
    call(world, MODIFY, 2, 2)
    world.accept(2)
    thread.eaccept(3, TRIM_MODIFIED)
    assert world.epcm(2) == world.epcm(3) == 0x440
    assert world.epcm(2) >> 8 == PageType.TRIM
