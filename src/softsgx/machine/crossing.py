"""The way into and out of enclave mode: what every crossing does to a processor.

SDM: "EENTER—Enters an Enclave", "EEXIT—Exits an Enclave".  The leaves and the
asynchronous exit check and move registers; this keeps the internal registers, the
TCS and the record of who is inside.
"""

from typing import NamedTuple

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.secs import Secs
from softsgx.arch.ssa import Gprsgx
from softsgx.arch.tcs import Tcs, TcsFlags
from softsgx.machine.fields import GPRSGX_URBP, GPRSGX_URSP, TCS_AEP, TCS_STAGE
from softsgx.machine.machine import Machine
from softsgx.machine.processor import RFLAGS_TF, Processor

STAGE_INACTIVE = 0
STAGE_ACTIVE = 1
"""TCS.STAGE."""

_GPRSGX_OFFSET = PAGE_SIZE - Gprsgx.SIZE


class Thread(NamedTuple):
    """A TCS, its addresses, and the enclave it belongs to."""

    tcs_la: int
    tcs_pa: int
    tcs: Tcs
    secs_page: int
    secs: Secs


class Frame(NamedTuple):
    """The EPC pages of an SSA frame: its XSAVE area, and the page with GPRSGX."""

    xsave_pages: tuple[int, ...]
    gpr_page: int


def gprsgx(machine: Machine, page: int) -> memoryview:
    """Return the 184 bytes of GPRSGX, which end a frame's last page."""
    return machine.epc.page(page)[_GPRSGX_OFFSET:]


def enter_enclave_mode(
    machine: Machine, lp: Processor, thread: Thread, frame: Frame
) -> None:
    """Take a checked thread in; *frame* is the one that its AEX will fill."""
    regs = lp.regs
    lp.enclave_mode = True
    lp.cr_active_secs = thread.secs_page
    lp.cr_elrange = (thread.secs.baseaddr, thread.secs.size)
    lp.cr_tcs_pa, lp.cr_tcs_la = thread.tcs_pa, thread.tcs_la
    lp.cr_xsave_page, lp.cr_gpr_pa = frame
    lp.cr_save_fs, lp.cr_save_gs = regs.fsbase, regs.gsbase
    lp.cr_save_xcr0, lp.xcr0 = lp.xcr0, thread.secs.attributes.xfrm
    lp.cr_dbgoptin = bool(thread.tcs.flags & TcsFlags.DBGOPTIN)
    lp.cr_save_tf = bool(regs.rflags & RFLAGS_TF)
    tcs = machine.epc.page(thread.tcs_pa)
    TCS_STAGE.write(tcs, STAGE_ACTIVE)
    TCS_AEP.write(tcs, regs.rcx)
    machine.enclaves[thread.secs_page].enter(lp.id)


def save_outside_stack(machine: Machine, lp: Processor, frame: Frame) -> None:
    """Put the outside's RSP and RBP into the frame, for its AEX to restore.

    EENTER does, and an AEX notification.  ERESUME does not: what the entry saved in the
    frame stays.
    """
    area = gprsgx(machine, frame.gpr_page)
    GPRSGX_URSP.write(area, lp.regs.rsp)
    GPRSGX_URBP.write(area, lp.regs.rbp)


def leave_enclave_mode(machine: Machine, lp: Processor) -> None:
    """Give back what entry saved: FS and GS, XCR0 and TF; free the TCS."""
    regs = lp.regs
    regs.fsbase, regs.gsbase = lp.cr_save_fs, lp.cr_save_gs
    lp.xcr0 = lp.cr_save_xcr0
    if not lp.cr_dbgoptin:
        regs.rflags = regs.rflags & ~RFLAGS_TF | RFLAGS_TF * lp.cr_save_tf
    lp.enclave_mode = False
    TCS_STAGE.write(machine.epc.page(lp.cr_tcs_pa), STAGE_INACTIVE)
    machine.enclaves[lp.cr_active_secs].leave(lp.id)


def read_frame(machine: Machine, pages: tuple[int, ...], size: int) -> bytearray:
    """Copy the first *size* bytes of a frame's XSAVE area, once."""
    if len(pages) == 1:
        return bytearray(machine.epc.page(pages[0])[:size])
    area = b"".join(bytes(machine.epc.page(page)) for page in pages)
    return bytearray(area[:size])


def write_frame(machine: Machine, pages: tuple[int, ...], area: bytearray) -> None:
    """Write a frame's XSAVE area from its start."""
    for start, page in zip(range(0, len(area), PAGE_SIZE), pages, strict=True):
        piece = area[start : start + PAGE_SIZE]
        machine.epc.page(page)[: len(piece)] = piece
