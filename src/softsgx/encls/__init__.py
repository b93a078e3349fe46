"""ENCLS: the leaf functions of ring 0, one a file, and the one place that runs them.

SDM: "ENCLS—Execute an Enclave System Function of Specified Leaf Number"

LEAVES is all that a processor may have.  A number that is not in it, and one of a
feature that the model lacks, is what the manual calls an unsupported leaf: #GP.

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
from softsgx.encls.eldbc import eldbc
from softsgx.encls.eldu import eldu
from softsgx.encls.elduc import elduc
from softsgx.encls.emodpr import emodpr
from softsgx.encls.emodt import emodt
from softsgx.encls.epa import epa
from softsgx.encls.erdinfo import erdinfo
from softsgx.encls.eremove import eremove
from softsgx.encls.etrack import etrack
from softsgx.encls.etrackc import etrackc
from softsgx.encls.ewb import ewb
from softsgx.encls.operand import set_result
from softsgx.machine.machine import Machine
from softsgx.machine.model import Model
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
    Encls.ERDINFO: erdinfo,
    Encls.ETRACKC: etrackc,
    Encls.ELDBC: eldbc,
    Encls.ELDUC: elduc,
}

_NUMBERS = {int(leaf): leaf for leaf in LEAVES}

SGX2_LEAVES = frozenset({Encls.EAUG, Encls.EMODPR, Encls.EMODT})
"""Leaves that CPUID's SGX2 bit stands for."""

OVERSUB_LEAVES = frozenset({Encls.ERDINFO, Encls.ETRACKC, Encls.ELDBC, Encls.ELDUC})
"""Leaves for monitors that give guests more EPC than there is; a bit of their own."""

_IN_CARRY = {
    Encls.EBLOCK: {SgxError.BLSTATE, SgxError.NOTBLOCKABLE, SgxError.PG_IS_SECS},
    Encls.EWB: {SgxError.VA_SLOT_OCCUPIED},
    Encls.ERDINFO: {SgxError.PG_INVLD, SgxError.PG_NONEPC},
    Encls.ETRACKC: {SgxError.TRACK_NOT_REQUIRED},
}
"""What leaves report in CF instead of ZF."""


def execute(machine: Machine, lp: Processor, leaf: int) -> None:
    """Run ENCLS with *leaf* in EAX and the operands in lp.regs.

    An error code goes to RAX and the flags; with a Fault or VmExit nothing changes.
    """
    number = _check_enabled(machine, lp, leaf & 0xFFFF_FFFF)
    regs = lp.regs
    operands = regs.rbx, regs.rcx, regs.rdx
    try:
        LEAVES[number](machine, lp)
    except LeafFailed as failed:
        set_result(lp, failed.code)
        if failed.code in _IN_CARRY.get(number, ()):
            _move_to_carry(regs)
        machine.trace(LeafExecuted(lp.id, number, *operands, error=failed.code))
    except Fault as fault:
        machine.trace(LeafExecuted(lp.id, number, *operands, fault=fault))
        raise
    else:
        machine.trace(LeafExecuted(lp.id, number, *operands))


def _check_enabled(machine: Machine, lp: Processor, leaf: int) -> Encls:
    if not machine.model.sgx1:
        raise InvalidOpcode("CPUID does not enumerate SGX1")
    if lp.cpl > 0:
        raise InvalidOpcode("ENCLS outside ring 0")
    if not machine.package.is_opted_in():
        raise GeneralProtection("IA32_FEATURE_CONTROL does not enable SGX")
    number = _NUMBERS.get(leaf)
    if number is None or not _is_enumerated(machine.model, number):
        raise GeneralProtection(f"ENCLS has no leaf {leaf:#x} here")
    return number


def _is_enumerated(model: Model, leaf: Encls) -> bool:
    if leaf in OVERSUB_LEAVES:
        return model.oversub
    return leaf not in SGX2_LEAVES or model.sgx2


def _move_to_carry(regs: Regs) -> None:
    regs.rflags = regs.rflags & ~RFLAGS_ZF | RFLAGS_CF
