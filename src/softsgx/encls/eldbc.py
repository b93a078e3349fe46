"""Load an evicted page into the EPC, blocked, where other guests may be at it.

SDM: "ELDB/ELDU/ELDBC/ELDUC—Load an EPC Page and Mark its State"
In: RBX, a PAGEINFO, whose SECINFO is the address of a PCMD; RCX, the EPC page to fill;
    RDX, the slot that holds the page's version.
Faults: #GP for a bad operand, or a SECS for a page that has none; #PF for a page that
    is not in the EPC, in use, not a SECS, or a slot that is not in a VA page.
Errors: MAC_COMPARE_FAIL.  A conflict, #GP of ELDB, is a code here; leaves run alone.
"""

from softsgx.encls.load import check_load, load, loaded_entry, read_operands
from softsgx.encls.operand import set_result
from softsgx.machine.machine import Machine
from softsgx.machine.processor import Processor


def eldbc(machine: Machine, lp: Processor) -> None:
    """Verify, decrypt and add a page, and clear its slot."""
    # OPERANDS
    operands = read_operands(lp)

    # CHECKS
    loading = check_load(machine, lp, operands)

    # OPERATION
    load(machine, operands, loading)

    # EPCM
    machine.epcm[loading.page] = loaded_entry(loading, blocked=True)

    # RESULT
    set_result(lp)
