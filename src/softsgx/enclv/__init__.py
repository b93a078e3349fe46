"""ENCLV: the leaf functions of a virtual machine monitor, one a file.

SDM: "ENCLV—Execute an Enclave VMM Function of Specified Leaf Number"

A monitor that gives its guests more EPC than there is keeps with them, per SECS, how
many of its pages the monitor has evicted, and under which address the guest knows it.
"""

from collections.abc import Callable

from softsgx.arch.errors import LeafFailed
from softsgx.arch.faults import Fault, GeneralProtection, InvalidOpcode
from softsgx.arch.leaves import Enclv
from softsgx.arch.vmx import ExitReason, VmExit
from softsgx.encls.operand import set_result
from softsgx.enclv.edecvirtchild import edecvirtchild
from softsgx.enclv.eincvirtchild import eincvirtchild
from softsgx.enclv.esetcontext import esetcontext
from softsgx.machine.machine import Machine
from softsgx.machine.processor import Controls, Processor
from softsgx.machine.trace import LeafExecuted

LEAVES: dict[Enclv, Callable[[Machine, Processor], None]] = {
    Enclv.EDECVIRTCHILD: edecvirtchild,
    Enclv.EINCVIRTCHILD: eincvirtchild,
    Enclv.ESETCONTEXT: esetcontext,
}

_NUMBERS = {int(leaf): leaf for leaf in LEAVES}
_LAST_BIT = 63


def execute(machine: Machine, lp: Processor, leaf: int) -> None:
    """Run ENCLV with *leaf* in EAX and the operands in lp.regs.

    An error code goes to RAX and ZF; with a Fault or VmExit nothing changes.
    """
    number = _check_enabled(machine, lp, leaf & 0xFFFF_FFFF)
    operands = lp.regs.rbx, lp.regs.rcx, lp.regs.rdx
    try:
        LEAVES[number](machine, lp)
    except LeafFailed as failed:
        set_result(lp, failed.code)
        machine.trace(LeafExecuted(lp.id, number, *operands, error=failed.code))
    except Fault as fault:
        machine.trace(LeafExecuted(lp.id, number, *operands, fault=fault))
        raise
    else:
        machine.trace(LeafExecuted(lp.id, number, *operands))


def _check_enabled(machine: Machine, lp: Processor, leaf: int) -> Enclv:
    if not machine.model.enclv:
        raise InvalidOpcode("CPUID does not enumerate ENCLV")
    if not lp.vmx:
        raise InvalidOpcode("ENCLV outside VMX operation")
    if lp.cpl > 0:
        raise InvalidOpcode("ENCLV outside ring 0")
    if lp.controls:
        _check_guest(lp.controls, leaf)
    if not machine.package.is_opted_in():
        raise GeneralProtection("IA32_FEATURE_CONTROL does not enable SGX")
    number = _NUMBERS.get(leaf)
    if number is None:
        raise GeneralProtection(f"ENCLV has no leaf {leaf:#x}")
    return number


def _check_guest(controls: Controls, leaf: int) -> None:
    bitmap = controls.enclv_exiting
    if bitmap is None:
        raise InvalidOpcode("ENCLV in a guest whose monitor does not let it")
    if bitmap >> min(leaf, _LAST_BIT) & 1:
        raise VmExit(ExitReason.ENCLV)
