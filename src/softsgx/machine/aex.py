"""The asynchronous enclave exit: state into the SSA, synthetic state outside.

SDM: "AEX Operational Detail".  It cannot fault: entry checked the frame and kept its
pages.  Debug and performance monitoring suppression have no place in this model.
"""

from softsgx.arch.faults import PFEC_U
from softsgx.arch.leaves import Enclu
from softsgx.arch.secs import Miscselect, Secs
from softsgx.arch.ssa import Exinfo, Exitinfo, ExitType, Gprsgx
from softsgx.machine.crossing import (
    gprsgx,
    leave_enclave_mode,
    read_frame,
    write_frame,
)
from softsgx.machine.fields import (
    GPRSGX_EXITINFO,
    GPRSGX_REGS,
    GPRSGX_RFLAGS,
    GPRSGX_URBP,
    GPRSGX_URSP,
    TCS_AEP,
    TCS_CSSA,
)
from softsgx.machine.machine import Machine
from softsgx.machine.processor import (
    RFLAGS_ARITHMETIC,
    RFLAGS_RF,
    RFLAGS_TF,
    Processor,
)
from softsgx.machine.trace import AsynchronousExit
from softsgx.machine.xsave import load_synthetic_state, xsave

BP = 3
GP = 13
PF = 14
REPORTED = frozenset({0, 1, BP, 5, 6, 16, 17, 19})
"""Vectors that EXITINFO always reports: #DE #DB #BP #BR #UD #MF #AC #XM.

SDM: "VECTOR Field Definition".
"""

_ZEROED = (
    *("rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"),
)
_PAGE_MASK = ~0xFFF


def asynchronous_exit(
    machine: Machine, lp: Processor, vector: int, error_code: int = 0, address: int = 0
) -> int:
    """Leave enclave mode for an exception or interrupt; return the address for CR2.

    *address* is that of a #PF; what is returned has its low 12 bits cleared.
    """
    enclave = machine.enclaves[lp.cr_active_secs]
    _save_state(machine, lp, enclave.secs)
    _save_reason(machine, lp, enclave.secs, (vector, error_code, address))
    _load_synthetic_state(machine, lp, enclave.secs, vector)
    if vector == PF:
        address &= _PAGE_MASK
    machine.trace(
        AsynchronousExit(lp.id, lp.cr_active_secs, vector, error_code, address)
    )
    return address


def _save_state(machine: Machine, lp: Processor, secs: Secs) -> None:
    """Fill the frame's GPRSGX and XSAVE area; TF is saved as 0."""
    saved = gprsgx(machine, lp.cr_gpr_pa)
    for name, field in GPRSGX_REGS:
        field.write(saved, getattr(lp.regs, name))
    GPRSGX_RFLAGS.write(saved, lp.regs.rflags & ~RFLAGS_TF)
    layout, xfrm = machine.model.xsave, secs.attributes.xfrm
    area = read_frame(machine, lp.cr_xsave_page, layout.size(xfrm))
    xsave(layout, xfrm, lp.xsave, area)
    write_frame(machine, lp.cr_xsave_page, area)


def _save_reason(
    machine: Machine, lp: Processor, secs: Secs, event: tuple[int, int, int]
) -> None:
    """Write EXITINFO, and EXINFO where MISCSELECT asks for it."""
    vector, error_code, address = event
    exitinfo = Exitinfo(0)
    if vector in REPORTED:
        kind = ExitType.SOFTWARE if vector == BP else ExitType.HARDWARE
        exitinfo = Exitinfo.of(vector, kind)
    elif secs.miscselect & Miscselect.EXINFO and _is_in_exinfo(vector, error_code):
        exitinfo = Exitinfo.of(vector, ExitType.HARDWARE)
        exinfo = Exinfo(maddr=address if vector == PF else 0, errcd=error_code)
        page = machine.epc.page(lp.cr_gpr_pa)
        end = len(page) - Gprsgx.SIZE
        page[end - Exinfo.SIZE : end] = bytes(exinfo)
    GPRSGX_EXITINFO.write(gprsgx(machine, lp.cr_gpr_pa), int(exitinfo))


def _is_in_exinfo(vector: int, error_code: int) -> bool:
    """Say whether EXINFO can tell of an exception: #GP, or a #PF of a user access."""
    return vector == GP or (vector == PF and bool(error_code & PFEC_U))


def _load_synthetic_state(
    machine: Machine, lp: Processor, secs: Secs, vector: int
) -> None:
    """Let the outside see registers that tell it how to resume, and nothing else.

    SDM: "Synthetic State on Asynchronous Enclave Exit".
    """
    regs = lp.regs
    tcs = machine.epc.page(lp.cr_tcs_pa)
    saved = gprsgx(machine, lp.cr_gpr_pa)
    for name in _ZEROED:
        setattr(regs, name, 0)
    regs.rsp = GPRSGX_URSP.read(saved)
    regs.rbp = GPRSGX_URBP.read(saved)
    regs.rflags &= ~(RFLAGS_ARITHMETIC | RFLAGS_RF)
    load_synthetic_state(machine.model.xsave, secs.attributes.xfrm, lp.xsave, vector)
    regs.rip = regs.rcx = TCS_AEP.read(tcs)
    regs.rax = Enclu.ERESUME.value
    regs.rbx = lp.cr_tcs_la
    TCS_CSSA.write(tcs, TCS_CSSA.read(tcs) + 1)
    leave_enclave_mode(machine, lp)
