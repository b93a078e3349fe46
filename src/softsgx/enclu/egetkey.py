"""ENCLU[EGETKEY]: get a key that only this platform, and such an enclave, can get.

SDM: "EGETKEY—Retrieves a Cryptographic Key"
In: RBX address of a KEYREQUEST, RCX address of the 16 bytes OUTPUTDATA.
Out: RAX error code; ZF set if it is not 0.
Faults: #GP for an operand misaligned, outside the enclave or reserved; #PF for a page
    that the page tables or the EPCM forbid.
Errors: SGX_INVALID_ATTRIBUTE, SGX_INVALID_CPUSVN, SGX_INVALID_ISVSVN,
    SGX_INVALID_KEYNAME.
"""

from softsgx.arch.errors import LeafFailed, SgxError
from softsgx.arch.faults import GeneralProtection
from softsgx.arch.key import KEYPOLICY_KSS, Keyname, Keypolicy, Keyrequest
from softsgx.arch.secs import AttributeFlags, Secs
from softsgx.enclu.operand import (
    check_aligned,
    check_page,
    check_within_elrange,
    read_operand,
    write_operand,
)
from softsgx.machine.keys import derive_requested_key
from softsgx.machine.machine import Machine
from softsgx.machine.package import is_cpusvn_beyond
from softsgx.machine.processor import Processor

OUTPUTDATA_ALIGN = 16
_DEFINED_POLICY = int(Keypolicy.MRENCLAVE | Keypolicy.MRSIGNER | KEYPOLICY_KSS)
_NEEDED = {
    Keyname.EINITTOKEN_KEY: AttributeFlags.EINITTOKENKEY,
    Keyname.PROVISION_KEY: AttributeFlags.PROVISIONKEY,
    Keyname.PROVISION_SEAL_KEY: AttributeFlags.PROVISIONKEY,
}
"""The attribute without which a key is refused."""


def egetkey(machine: Machine, lp: Processor) -> None:
    """Write the key that RBX's request names to RCX."""
    # OPERANDS
    keyrequest, outputdata = lp.regs.rbx, lp.regs.rcx

    # CHECKS
    check_aligned(keyrequest, Keyrequest.ALIGN, "RBX")
    check_within_elrange(lp, keyrequest, "RBX")
    page = check_page(machine, lp, keyrequest)
    raw = read_operand(page, keyrequest, Keyrequest.SIZE)
    request = Keyrequest.from_bytes(raw)
    check_aligned(outputdata, OUTPUTDATA_ALIGN, "RCX")
    check_within_elrange(lp, outputdata, "RCX")
    output = check_page(machine, lp, outputdata, write=True)
    if not Keyrequest.reserved_is_zero(raw):
        raise GeneralProtection("reserved bytes of KEYREQUEST are not zero")
    if int(request.keypolicy) & ~_DEFINED_POLICY:
        raise GeneralProtection("reserved bits of KEYPOLICY are set")
    enclave = machine.enclaves[lp.cr_active_secs]
    _check_kss(enclave.secs, request)
    _check_request(enclave.secs, request, machine.package.cpusvn)

    # RESULT
    key = derive_requested_key(machine.package, enclave, request)
    write_operand(output, outputdata, key)


def _check_kss(secs: Secs, request: Keyrequest) -> None:
    """Raise #GP if key separation and sharing is asked for and not on."""
    if secs.attributes.flags & AttributeFlags.KSS:
        return
    if request.keypolicy & KEYPOLICY_KSS or request.configsvn:
        raise GeneralProtection("KEYREQUEST uses KSS, the enclave does not")


def _check_request(secs: Secs, request: Keyrequest, cpusvn: bytes) -> None:
    """Fail if the key has no name, is not this enclave's, or is of a version to come.

    A report key depends on no request but KEYID.  The manual's operation forgets
    CONFIGSVN for PROVISION_SEAL_KEY; its description does not.
    """
    name = request.keyname
    if name == Keyname.REPORT_KEY:
        return
    if name not in tuple(Keyname):
        raise LeafFailed(SgxError.INVALID_KEYNAME)
    if name != Keyname.SEAL_KEY and not (
        secs.attributes.flags & _NEEDED[Keyname(name)]
    ):
        raise LeafFailed(SgxError.INVALID_ATTRIBUTE)
    if is_cpusvn_beyond(request.cpusvn, cpusvn):
        raise LeafFailed(SgxError.INVALID_CPUSVN)
    if request.isvsvn > secs.isvsvn:
        raise LeafFailed(SgxError.INVALID_ISVSVN)
    if _takes_configsvn(name) and request.configsvn > secs.configsvn:
        raise LeafFailed(SgxError.INVALID_ISVSVN)


def _takes_configsvn(keyname: int) -> bool:
    return keyname in (Keyname.SEAL_KEY, Keyname.PROVISION_SEAL_KEY)
