"""ENCLU[EDECCSSA]: go back to the previous SSA frame without leaving the enclave.

SDM: "EDECCSSA—Decrements TCS.CSSA"
In: nothing.
Faults: #GP if CSSA is 0; #PF for an SSA page that the page tables or the EPCM forbid.
Errors: none.
"""

from softsgx.arch.faults import GeneralProtection
from softsgx.arch.tcs import Tcs
from softsgx.enclu.entry import check_frame
from softsgx.machine.crossing import Thread
from softsgx.machine.fields import TCS_CSSA
from softsgx.machine.machine import Machine
from softsgx.machine.processor import Processor


def edeccssa(machine: Machine, lp: Processor) -> None:
    """Let the next AEX fill the frame that the last one filled."""
    # OPERANDS
    tcs = Tcs.from_bytes(bytes(machine.epc.page(lp.cr_tcs_pa)))
    secs = machine.enclaves[lp.cr_active_secs].secs
    thread = Thread(lp.cr_tcs_la, lp.cr_tcs_pa, tcs, lp.cr_active_secs, secs)

    # CHECKS
    if tcs.cssa == 0:
        raise GeneralProtection("CSSA is 0")
    frame = check_frame(machine, lp, thread, tcs.cssa - 1)

    # OPERATION
    TCS_CSSA.write(machine.epc.page(lp.cr_tcs_pa), tcs.cssa - 1)
    lp.cr_xsave_page, lp.cr_gpr_pa = frame
