"""ENCLU[EEXIT]: leave the enclave.

SDM: "EEXIT—Exits an Enclave"
In: RBX target address outside the enclave.
Out: RCX the AEP of the last entry.
Faults: #GP if RBX is not canonical.
Errors: none.
"""

from softsgx.arch.faults import GeneralProtection
from softsgx.enclu.operand import is_canonical
from softsgx.machine.crossing import leave_enclave_mode
from softsgx.machine.fields import TCS_AEP
from softsgx.machine.machine import Machine
from softsgx.machine.processor import Processor


def eexit(machine: Machine, lp: Processor) -> None:
    """Continue outside at RBX; RSP and RBP stay as the enclave left them."""
    # CHECKS
    target = lp.regs.rbx
    if not is_canonical(target):
        raise GeneralProtection("RBX is not canonical")

    # OPERATION
    lp.regs.rip = target
    lp.regs.rcx = TCS_AEP.read(machine.epc.page(lp.cr_tcs_pa))
    leave_enclave_mode(machine, lp)
