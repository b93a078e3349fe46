"""ENCLS: the leaf functions of ring 0, one a file, and the one place that runs them.

SDM: "ENCLS—Execute an Enclave System Function of Specified Leaf Number"

LEAVES is all that this processor has.  A number that is not in it, and one of SGX2
where the model lacks SGX2, is what the manual calls an unsupported leaf: #GP.  So are
the leaves for guests.

A leaf runs alone: the supervisor takes one at a time, so nothing can be seen of the
locks that the manual's concurrency tables describe, and no leaf returns
EPC_PAGE_CONFLICT or ENTRYEPOCH_LOCKED.  CET is not enumerated, so there are no shadow
stack pages.  Operands are those of 64-bit mode.
"""

from collections.abc import Callable

from softsgx.arch.errors import LeafFailed, SgxError
from softsgx.arch.faults import Fault, GeneralProtection, InvalidOpcode
from softsgx.arch.leaves import Encls
from softsgx.encls.eadd import eadd
from softsgx.encls.eaug import eaug
from softsgx.encls.eblock import eblock
from softsgx.encls.ecreate import ecreate
from softsgx.encls.edbgrd import edbgrd
from softsgx.encls.edbgwr import edbgwr
from softsgx.encls.eextend import eextend
from softsgx.encls.einit import einit
from softsgx.encls.eldb import eldb
from softsgx.encls.eldu import eldu
from softsgx.encls.emodpr import emodpr
from softsgx.encls.emodt import emodt
from softsgx.encls.epa import epa
from softsgx.encls.eremove import eremove
from softsgx.encls.etrack import etrack
from softsgx.encls.ewb import ewb
from softsgx.encls.operand import set_result
from softsgx.machine.machine import Machine
from softsgx.machine.processor import RFLAGS_CF, RFLAGS_ZF, Processor, Regs
from softsgx.machine.trace import LeafExecuted

Leaf = Callable[[Machine, Processor], None]

LEAVES: dict[Encls, Leaf] = {
    Encls.ECREATE: ecreate,
    Encls.EADD: eadd,
    Encls.EINIT: einit,
    Encls.EREMOVE: eremove,
    Encls.EDBGRD: edbgrd,
    Encls.EDBGWR: edbgwr,
    Encls.EEXTEND: eextend,
    Encls.EPA: epa,
    Encls.EBLOCK: eblock,
    Encls.ETRACK: etrack,
    Encls.EWB: ewb,
    Encls.ELDB: eldb,
    Encls.ELDU: eldu,
    Encls.EAUG: eaug,
    Encls.EMODPR: emodpr,
    Encls.EMODT: emodt,
}

_NUMBERS = {int(leaf): leaf for leaf in Encls}

SGX2_LEAVES = frozenset({Encls.EAUG, Encls.EMODPR, Encls.EMODT})
"""Leaves that CPUID's SGX2 bit stands for."""

_IN_CARRY = frozenset(
    {
        SgxError.BLSTATE,
        SgxError.NOTBLOCKABLE,
        SgxError.PG_IS_SECS,
        SgxError.VA_SLOT_OCCUPIED,
    }
)
"""What EBLOCK and EWB report in CF instead of ZF."""


def execute(machine: Machine, lp: Processor, leaf: int) -> None:
    """Run ENCLS with *leaf* in EAX and the operands in lp.regs.

    An error code goes to RAX and the flags; a Fault is raised and nothing changes.
    """
    leaf &= 0xFFFF_FFFF
    function = _check_enabled(machine, lp, leaf)
    regs = lp.regs
    operands = regs.rbx, regs.rcx, regs.rdx
    error, fault = None, None
    try:
        function(machine, lp)
    except LeafFailed as failed:
        error = failed.code
        set_result(lp, error)
        if error in _IN_CARRY:
            _move_to_carry(regs)
    except Fault as raised:
        fault = raised
        raise
    finally:
        event = LeafExecuted(lp.id, Encls(leaf), *operands, error=error, fault=fault)
        machine.trace(event)


def _check_enabled(machine: Machine, lp: Processor, leaf: int) -> Leaf:
    if not machine.model.sgx1:
        raise InvalidOpcode("CPUID does not enumerate SGX1")
    if lp.cpl > 0:
        raise InvalidOpcode("ENCLS outside ring 0")
    if not machine.package.is_opted_in():
        raise GeneralProtection("IA32_FEATURE_CONTROL does not enable SGX")
    function = LEAVES.get(_NUMBERS[leaf]) if leaf in _NUMBERS else None
    if function is None or (leaf in SGX2_LEAVES and not machine.model.sgx2):
        raise GeneralProtection(f"ENCLS has no leaf {leaf:#x} here")
    return function


def _move_to_carry(regs: Regs) -> None:
    regs.rflags = regs.rflags & ~RFLAGS_ZF | RFLAGS_CF
