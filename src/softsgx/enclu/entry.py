"""The checks that EENTER, ERESUME and EDECCSSA share, in the order of their pages.

SDM: "EENTER—Enters an Enclave", "ERESUME—Re-Enters an Enclave".  Absent are the checks
of 32-bit segments, since a logical processor here is always in 64-bit mode; of other
leaves operating on the TCS, since leaves run one at a time; and of CET, since no model
enumerates it.
"""

from typing import NamedTuple

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.faults import GeneralProtection
from softsgx.arch.secinfo import PageType
from softsgx.arch.secs import XFRM_LEGACY, AttributeFlags, Secs
from softsgx.arch.tcs import Tcs, TcsFlags
from softsgx.enclu.operand import (
    ADDRESS_MASK,
    check_aligned,
    is_canonical,
    page_fault,
)
from softsgx.machine.crossing import STAGE_INACTIVE, Frame, Thread
from softsgx.machine.epcm import EpcmEntry
from softsgx.machine.machine import Machine
from softsgx.machine.model import Model
from softsgx.machine.processor import ENCLU_SIZE, RFLAGS_TF, Processor


def check_thread(machine: Machine, lp: Processor) -> Thread:
    """Check RBX and RCX, the TCS and its enclave, up to AEXNOTIFY; #GP or #PF."""
    tcs_la, aep = lp.regs.rbx, lp.regs.rcx
    check_aligned(tcs_la, PAGE_SIZE, "RBX")
    tcs_pa = lp.memory.page(tcs_la, write=True)
    if not is_canonical(aep):
        raise GeneralProtection("AEP is not canonical")
    entry = machine.epcm[tcs_pa]
    _check_tcs_page(entry, tcs_la)
    tcs = Tcs.from_bytes(bytes(machine.epc.page(tcs_pa)))
    if tcs.ossa % PAGE_SIZE:
        raise GeneralProtection("TCS.OSSA is not aligned to a page")
    if tcs.ofsbasgx % PAGE_SIZE or tcs.ogsbasgx % PAGE_SIZE:
        raise GeneralProtection("TCS.OFSBASGX or OGSBASGX is not aligned to a page")
    secs = machine.enclaves[entry.enclavesecs].secs
    if int(tcs.flags) & ~_defined_flags(machine.model):
        raise GeneralProtection("reserved bits of TCS.FLAGS are set")
    _check_enclave(lp, secs)
    _check_aexnotify(tcs, secs)
    return Thread(tcs_la, tcs_pa, tcs, entry.enclavesecs, secs)


def _defined_flags(model: Model) -> int:
    """Return the bits of TCS.FLAGS that are not reserved on this processor."""
    return int(TcsFlags.DBGOPTIN) | int(TcsFlags.AEXNOTIFY) * model.aexnotify


def _check_tcs_page(entry: EpcmEntry, tcs_la: int) -> None:
    """Raise #PF unless the page is a TCS that may be entered at this address."""
    if not entry.valid:
        raise page_fault(tcs_la, "the page is not valid", write=True)
    if entry.blocked:
        raise page_fault(tcs_la, "the page is blocked", write=True)
    if entry.enclaveaddress != tcs_la or entry.pt != PageType.TCS:
        raise page_fault(tcs_la, "no TCS at this address", write=True)
    if entry.pending or entry.modified:
        raise page_fault(tcs_la, "the page is pending or modified", write=True)


def _check_enclave(lp: Processor, secs: Secs) -> None:
    """Raise #GP unless the enclave is initialized and fits this processor."""
    flags, xfrm = secs.attributes.flags, secs.attributes.xfrm
    if not flags & AttributeFlags.INIT:
        raise GeneralProtection("the enclave is not initialized")
    if not flags & AttributeFlags.MODE64BIT:
        raise GeneralProtection("the enclave is not a 64-bit one")
    if not lp.cr4_osfxsr:
        raise GeneralProtection("CR4.OSFXSR is 0")
    if not lp.cr4_osxsave and xfrm != XFRM_LEGACY:
        raise GeneralProtection("CR4.OSXSAVE is 0 and XFRM is not 3")
    if lp.cr4_osxsave and xfrm & ~lp.xcr0:
        raise GeneralProtection("XFRM is not a subset of XCR0")


def _check_aexnotify(tcs: Tcs, secs: Secs) -> None:
    """Raise #GP if the thread and its enclave disagree, but for a debugged thread."""
    if tcs.flags & TcsFlags.DBGOPTIN:
        return
    ours = bool(tcs.flags & TcsFlags.AEXNOTIFY)
    if ours != bool(secs.attributes.flags & AttributeFlags.AEXNOTIFY):
        raise GeneralProtection("TCS.FLAGS.AEXNOTIFY is not that of the enclave")


def check_frame(machine: Machine, lp: Processor, thread: Thread, number: int) -> Frame:
    """Raise #PF unless frame *number* lies in regular pages to be read and written.

    Only the pages of the XSAVE area and of GPRSGX count.
    """
    secs = thread.secs
    size = PAGE_SIZE * secs.ssaframesize
    start = (thread.tcs.ossa + secs.baseaddr + size * number) & ADDRESS_MASK
    xsize = machine.model.xsave.size(secs.attributes.xfrm)
    pages = {
        address: _check_frame_page(machine, lp, thread, address)
        for address in range(start, start + xsize, PAGE_SIZE)
    }
    gpr_address = start + size - PAGE_SIZE
    gpr_page = pages.get(gpr_address)
    if gpr_page is None:
        gpr_page = _check_frame_page(machine, lp, thread, gpr_address)
    return Frame(tuple(pages.values()), gpr_page)


def _check_frame_page(
    machine: Machine, lp: Processor, thread: Thread, address: int
) -> int:
    """Raise #PF unless the page at *address* may hold a part of a frame."""
    page = lp.memory.page(address, write=True)
    entry = machine.epcm[page]
    if not entry.valid:
        raise page_fault(address, "the SSA page is not valid", write=True)
    if entry.blocked:
        raise page_fault(address, "the SSA page is blocked", write=True)
    if entry.pending or entry.modified:
        raise page_fault(address, "the SSA page is pending or modified", write=True)
    if (
        entry.enclaveaddress != address
        or entry.pt != PageType.REG
        or entry.enclavesecs != thread.secs_page
        or not entry.r
        or not entry.w
    ):
        raise page_fault(address, "the EPCM forbids the SSA page", write=True)
    return page


class Landing(NamedTuple):
    """Where a thread continues inside: RIP, and the FS and GS bases."""

    rip: int
    fsbase: int
    gsbase: int

    @classmethod
    def at_oentry(cls, thread: Thread) -> "Landing":
        """Return what the TCS says for an entry."""
        tcs, base = thread.tcs, thread.secs.baseaddr
        return cls(
            (tcs.oentry + base) & ADDRESS_MASK,
            (tcs.ofsbasgx + base) & ADDRESS_MASK,
            (tcs.ogsbasgx + base) & ADDRESS_MASK,
        )


def check_landing(landing: Landing) -> None:
    """Raise #GP unless the target and the proposed FS and GS bases are canonical."""
    if not is_canonical(landing.rip):
        raise GeneralProtection("the target address is not canonical")
    if not is_canonical(landing.fsbase) or not is_canonical(landing.gsbase):
        raise GeneralProtection("the FS or GS base is not canonical")


def check_inactive(tcs: Tcs) -> None:
    """Raise #GP if a logical processor is inside through this TCS."""
    if tcs.stage != STAGE_INACTIVE:
        raise GeneralProtection("the TCS is active")


def land(lp: Processor, landing: Landing, cssa: int) -> None:
    """Let a thread that entered begin at its entry point: RAX, RCX, RIP, FS, GS."""
    lp.regs.rcx = (lp.regs.rip + ENCLU_SIZE) & ADDRESS_MASK
    lp.regs.rip, lp.regs.fsbase, lp.regs.gsbase = landing
    lp.regs.rax = cssa
    if not lp.cr_dbgoptin:
        lp.regs.rflags &= ~RFLAGS_TF
