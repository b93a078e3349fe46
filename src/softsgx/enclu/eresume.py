"""ENCLU[ERESUME]: go back into an enclave after an asynchronous exit.

SDM: "ERESUME—Re-Enters an Enclave"
In: RBX address of a TCS, RCX address of the asynchronous exit pointer (AEP).
Out: all registers as the SSA has them; for an AEX notification, those of EENTER.
Faults: #GP for a thread, enclave or saved state that cannot be resumed; #PF for a TCS
    or SSA page that the page tables or the EPCM forbid.
Errors: none.
"""

from softsgx.arch.faults import GeneralProtection
from softsgx.arch.tcs import TcsFlags
from softsgx.enclu.entry import (
    Landing,
    check_frame,
    check_inactive,
    check_landing,
    check_thread,
    land,
)
from softsgx.machine.crossing import (
    Thread,
    enter_enclave_mode,
    gprsgx,
    read_frame,
    save_outside_stack,
)
from softsgx.machine.fields import GPRSGX_AEXNOTIFY, GPRSGX_REGS, TCS_CSSA
from softsgx.machine.machine import Machine
from softsgx.machine.processor import (
    RFLAGS_IF,
    RFLAGS_IOPL,
    RFLAGS_RESTORED,
    RFLAGS_TF,
    RFLAGS_VM,
    Processor,
)
from softsgx.machine.xsave import check_xrstor, xrstor

_AEXNOTIFY = 1 << 0


def eresume(machine: Machine, lp: Processor) -> None:
    """Check RBX's thread and its last frame, then restore it, or notify of the AEX."""
    # CHECKS
    thread = check_thread(machine, lp)
    tcs = thread.tcs
    if tcs.cssa == 0:
        raise GeneralProtection("no SSA frame in use: CSSA is 0")
    frame = check_frame(machine, lp, thread, tcs.cssa - 1)
    area = bytes(gprsgx(machine, frame.gpr_page))
    if tcs.flags & TcsFlags.AEXNOTIFY and GPRSGX_AEXNOTIFY.read(area) & _AEXNOTIFY:
        _notify(machine, lp, thread)
        return
    saved = {name: field.read(area) for name, field in GPRSGX_REGS}
    check_landing(Landing(saved["rip"], saved["fsbase"], saved["gsbase"]))
    check_inactive(tcs)
    layout, xfrm = machine.model.xsave, thread.secs.attributes.xfrm
    xarea = read_frame(machine, frame.xsave_pages, layout.size(xfrm))
    check_xrstor(xfrm, xarea, lp.xsave)

    # OPERATION
    enter_enclave_mode(machine, lp, thread, frame)
    xrstor(layout, xfrm, xarea, lp.xsave)
    TCS_CSSA.write(machine.epc.page(thread.tcs_pa), tcs.cssa - 1)

    # RESULT
    _restore(lp, saved)


def _notify(machine: Machine, lp: Processor, thread: Thread) -> None:
    """Enter at OENTRY in one more frame: the enclave asked to hear of its AEX.

    RCX is as after EENTER.  The manual's lines move RIP first, so that RCX would be the
    entry point; for EENTER they have the other order, and that is what is meant.
    """
    tcs = thread.tcs
    if tcs.cssa >= tcs.nssa:
        raise GeneralProtection("no free SSA frame to notify in")
    frame = check_frame(machine, lp, thread, tcs.cssa)
    landing = Landing.at_oentry(thread)
    check_landing(landing)
    check_inactive(tcs)
    enter_enclave_mode(machine, lp, thread, frame)
    save_outside_stack(machine, lp, frame)
    land(lp, landing, tcs.cssa)
    lp.debug_pending = bool(lp.regs.rflags & RFLAGS_TF)


def _restore(lp: Processor, saved: dict[str, int]) -> None:
    """Load the general registers, and of RFLAGS what the manual lists."""
    outside = lp.regs.rflags
    restored = RFLAGS_RESTORED
    if outside & RFLAGS_IOPL == RFLAGS_IOPL:
        restored |= RFLAGS_IF
    if not lp.cr_dbgoptin:
        outside &= ~RFLAGS_TF
    for name, value in saved.items():
        setattr(lp.regs, name, value)
    kept = outside & ~(restored | RFLAGS_VM)
    lp.regs.rflags = kept | (saved["rflags"] & restored)
