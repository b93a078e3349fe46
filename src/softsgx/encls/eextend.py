"""Measure 256 bytes of a page of an enclave that is being built.

SDM: "EEXTEND—Extend Uninitialized Enclave Measurement by 256 Bytes"
In: RBX, the SECS' EPC page; RCX, the 256 bytes in the EPC.
Faults: #GP for a bad operand, another enclave's page, or an enclave past EINIT; #PF
    for a page that is not in the EPC, not valid, or neither TCS nor REG.
Errors: none.
"""

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.faults import GeneralProtection
from softsgx.arch.secinfo import PageType
from softsgx.encls.operand import (
    check_aligned,
    is_initialized,
    page_fault,
    page_offset,
)
from softsgx.machine.machine import Machine
from softsgx.machine.measurement import CHUNK
from softsgx.machine.processor import Processor


def eextend(machine: Machine, lp: Processor) -> None:
    """Extend MRENCLAVE by a chunk and its offset in the enclave."""
    # OPERANDS
    rbx, rcx = lp.regs.rbx, lp.regs.rcx
    check_aligned(rbx, PAGE_SIZE, "RBX")
    secs_page = lp.memory.page(rbx)
    check_aligned(rcx, CHUNK, "RCX")
    page = lp.memory.page(rcx)

    # CHECKS
    entry = machine.epcm[page]
    if not entry.valid:
        raise page_fault(rcx, "the EPC page is not valid")
    if entry.pt not in (PageType.REG, PageType.TCS):
        raise page_fault(rcx, "neither a TCS nor a REG page")
    if entry.enclavesecs != secs_page:
        raise GeneralProtection("RBX is not the SECS of the page in RCX")
    enclave = machine.enclaves[secs_page]
    if is_initialized(enclave):
        raise GeneralProtection("the enclave is initialized")

    # MEASUREMENT
    start = page_offset(rcx)
    offset = entry.enclaveaddress - enclave.secs.baseaddr + start
    chunk = machine.epc.page(page)[start : start + CHUNK]
    enclave.measurement.eextend(offset, chunk)
