"""ENCLU[EENTER]: enter an enclave at its entry point.

SDM: "EENTER—Enters an Enclave"
In: RBX address of a TCS, RCX address of the asynchronous exit pointer (AEP).
Out: RAX TCS.CSSA, RCX address of the instruction after this one.
Faults: #GP for a thread or enclave that cannot be entered; #PF for a TCS or SSA page
    that the page tables or the EPCM forbid.
Errors: none.
"""

from softsgx.arch.faults import GeneralProtection
from softsgx.enclu.entry import (
    Landing,
    check_frame,
    check_inactive,
    check_landing,
    check_thread,
    land,
)
from softsgx.machine.crossing import enter_enclave_mode, save_outside_stack
from softsgx.machine.machine import Machine
from softsgx.machine.processor import Processor


def eenter(machine: Machine, lp: Processor) -> None:
    """Check RBX's thread and its next free frame, then enter at OENTRY."""
    # CHECKS
    thread = check_thread(machine, lp)
    if thread.tcs.cssa >= thread.tcs.nssa:
        raise GeneralProtection("no free SSA frame: CSSA is not below NSSA")
    frame = check_frame(machine, lp, thread, thread.tcs.cssa)
    landing = Landing.at_oentry(thread)
    check_landing(landing)
    check_inactive(thread.tcs)

    # OPERATION
    enter_enclave_mode(machine, lp, thread, frame)
    save_outside_stack(machine, lp, frame)

    # RESULT
    land(lp, landing, thread.tcs.cssa)
