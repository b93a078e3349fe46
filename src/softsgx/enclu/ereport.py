"""ENCLU[EREPORT]: make a report of the enclave that another one can verify.

SDM: "EREPORT—Create a Cryptographic Report of the Enclave"
In: RBX address of a TARGETINFO, RCX of 64 bytes REPORTDATA, RDX of the REPORT to write.
Faults: #GP for an operand misaligned, outside the enclave or reserved; #PF for a page
    that the page tables or the EPCM forbid.
Errors: none.
"""

from dataclasses import replace

from softsgx.arch.faults import GeneralProtection
from softsgx.arch.report import MACED, Report
from softsgx.arch.targetinfo import Targetinfo
from softsgx.crypto.cmac import aes_cmac
from softsgx.enclu.operand import (
    check_aligned,
    check_page,
    check_within_elrange,
    read_operand,
    write_operand,
)
from softsgx.machine.enclave import EnclaveState
from softsgx.machine.keys import derive_report_key
from softsgx.machine.machine import Machine
from softsgx.machine.processor import Processor

REPORTDATA_SIZE = 64
REPORTDATA_ALIGN = 128


def ereport(machine: Machine, lp: Processor) -> None:
    """Write the enclave's identity and REPORTDATA, MACed with the target's key."""
    # OPERANDS
    targetinfo, reportdata, outputdata = lp.regs.rbx, lp.regs.rcx, lp.regs.rdx

    # CHECKS
    check_aligned(targetinfo, Targetinfo.ALIGN, "RBX")
    check_within_elrange(lp, targetinfo, "RBX")
    page = check_page(machine, lp, targetinfo)
    raw = read_operand(page, targetinfo, Targetinfo.SIZE)
    if not Targetinfo.reserved_is_zero(raw):
        raise GeneralProtection("reserved bytes of TARGETINFO are not zero")
    check_aligned(reportdata, REPORTDATA_ALIGN, "RCX")
    check_within_elrange(lp, reportdata, "RCX")
    page = check_page(machine, lp, reportdata)
    data = read_operand(page, reportdata, REPORTDATA_SIZE)
    check_aligned(outputdata, Report.ALIGN, "RDX")
    check_within_elrange(lp, outputdata, "RDX")
    output = check_page(machine, lp, outputdata, write=True)

    # OPERATION
    package = machine.package
    body = replace(
        _identity(machine.enclaves[lp.cr_active_secs]),
        cpusvn=package.cpusvn,
        reportdata=data,
        keyid=package.report_keyid,
    )
    target = Targetinfo.from_bytes(raw)
    key = derive_report_key(package, target, package.report_keyid)
    report = replace(body, mac=aes_cmac(key, bytes(body)[:MACED]))

    # RESULT
    write_operand(output, outputdata, bytes(report))


def _identity(enclave: EnclaveState) -> Report:
    """Return a report with what the SECS says, and zeros."""
    secs = enclave.secs
    return replace(
        Report.zero(),
        miscselect=secs.miscselect,
        isvextprodid=enclave.isvextprodid,
        attributes=secs.attributes,
        mrenclave=secs.mrenclave,
        mrsigner=secs.mrsigner,
        configid=secs.configid,
        isvprodid=secs.isvprodid,
        isvsvn=secs.isvsvn,
        configsvn=secs.configsvn,
        isvfamilyid=enclave.isvfamilyid,
    )
