"""Leaves of ENCLU, for ring 3: one file a leaf, and their only way of being executed.

SDM: "ENCLU—Execute an Enclave User Function of Specified Leaf Number"
"""

from collections.abc import Callable

from softsgx.arch.errors import LeafFailed, SgxError
from softsgx.arch.faults import Fault, GeneralProtection, InvalidOpcode
from softsgx.arch.leaves import Enclu
from softsgx.enclu.eaccept import eaccept
from softsgx.enclu.eacceptcopy import eacceptcopy
from softsgx.enclu.edeccssa import edeccssa
from softsgx.enclu.eenter import eenter
from softsgx.enclu.eexit import eexit
from softsgx.enclu.egetkey import egetkey
from softsgx.enclu.emodpe import emodpe
from softsgx.enclu.ereport import ereport
from softsgx.enclu.eresume import eresume
from softsgx.machine.machine import Machine
from softsgx.machine.model import Model
from softsgx.machine.processor import (
    ENCLU_SIZE,
    RFLAGS_ARITHMETIC,
    RFLAGS_TF,
    RFLAGS_ZF,
    Processor,
)
from softsgx.machine.trace import LeafExecuted

LEAVES: dict[Enclu, Callable[[Machine, Processor], None]] = {
    Enclu.EREPORT: ereport,
    Enclu.EGETKEY: egetkey,
    Enclu.EENTER: eenter,
    Enclu.ERESUME: eresume,
    Enclu.EEXIT: eexit,
    Enclu.EACCEPT: eaccept,
    Enclu.EMODPE: emodpe,
    Enclu.EACCEPTCOPY: eacceptcopy,
    Enclu.EDECCSSA: edeccssa,
}

_ENTRIES = frozenset({Enclu.EENTER, Enclu.ERESUME})
_JUMPS = frozenset({Enclu.EENTER, Enclu.ERESUME, Enclu.EEXIT})
_RETURNING_CODES = frozenset({Enclu.EGETKEY, Enclu.EACCEPT, Enclu.EACCEPTCOPY})
_SGX2 = frozenset({Enclu.EACCEPT, Enclu.EMODPE, Enclu.EACCEPTCOPY})
_NUMBERS = {int(leaf): leaf for leaf in LEAVES}


def execute(machine: Machine, lp: Processor, leaf: int) -> None:
    """Execute ENCLU with *leaf* in EAX at lp.regs.rip; raise Fault, or change state.

    An error code goes to RAX and ZF; RIP moves on unless the leaf jumped.  With TF set
    at its end a leaf leaves lp.debug_pending; ERESUME decides for itself.
    """
    operands = (lp.regs.rbx, lp.regs.rcx, lp.regs.rdx)
    lp.debug_pending = False
    number = _check_leaf(machine, lp, leaf)
    try:
        LEAVES[number](machine, lp)
    except LeafFailed as failure:
        _return_code(lp, failure.code)
        machine.trace(LeafExecuted(lp.id, number, *operands, error=failure.code))
    except Fault as fault:
        machine.trace(LeafExecuted(lp.id, number, *operands, fault=fault))
        raise
    else:
        if number in _RETURNING_CODES:
            _return_code(lp, SgxError.SUCCESS)
        machine.trace(LeafExecuted(lp.id, number, *operands))
    if number not in _JUMPS:
        lp.regs.rip = (lp.regs.rip + ENCLU_SIZE) & ((1 << 64) - 1)
    if number != Enclu.ERESUME:
        lp.debug_pending = bool(lp.regs.rflags & RFLAGS_TF)


def _check_leaf(machine: Machine, lp: Processor, leaf: int) -> Enclu:
    """Make the checks of the instruction itself; return the leaf."""
    if not machine.model.sgx1:
        raise InvalidOpcode("the processor has no SGX")
    if lp.cpl < 3:
        raise InvalidOpcode("ENCLU is for ring 3")
    if not machine.package.is_opted_in():
        raise GeneralProtection("IA32_FEATURE_CONTROL does not enable SGX")
    number = _NUMBERS.get(leaf & 0xFFFF_FFFF)
    if number is None or not _is_enumerated(machine.model, number):
        raise GeneralProtection("no such leaf of ENCLU")
    if lp.enclave_mode == (number in _ENTRIES):
        raise GeneralProtection(f"ENCLU[{number.name}] on this side of the enclave")
    return number


def _is_enumerated(model: Model, leaf: Enclu) -> bool:
    if leaf in _SGX2:
        return model.sgx2
    return leaf != Enclu.EDECCSSA or model.edeccssa


def _return_code(lp: Processor, code: SgxError) -> None:
    lp.regs.rax = int(code)
    lp.regs.rflags &= ~RFLAGS_ARITHMETIC
    if code:
        lp.regs.rflags |= RFLAGS_ZF
