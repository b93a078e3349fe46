"""Finish an enclave: check its certificate and its right to launch.

SDM: "EINIT—Initialize an Enclave for Execution"
In: RBX, a SIGSTRUCT; RCX, the SECS' EPC page; RDX, an EINITTOKEN.
Faults: #GP for a misaligned operand or an enclave past EINIT; #PF for a page that
    is not in the EPC or not a SECS.
Errors: INVALID_SIG_STRUCT, UNMASKED_EVENT, INVALID_SIGNATURE, INVALID_MEASUREMENT,
    INVALID_ATTRIBUTE, INVALID_EINITTOKEN, INVALID_CPUSVN.
"""

from dataclasses import replace

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.einittoken import MACED, VALID, Einittoken
from softsgx.arch.errors import LeafFailed, SgxError
from softsgx.arch.faults import GeneralProtection
from softsgx.arch.secs import AttributeFlags, Attributes
from softsgx.arch.sigstruct import (
    EXPONENT,
    HEADER,
    HEADER2,
    VENDOR_INTEL,
    Sigstruct,
    signed_part,
)
from softsgx.crypto.cmac import aes_cmac
from softsgx.crypto.compare import MismatchError, check_equal
from softsgx.crypto.rsa import Quotients, SignatureError, check_signature
from softsgx.crypto.sha256 import sha256
from softsgx.encls.operand import (
    check_aligned,
    check_secs,
    is_initialized,
    set_result,
)
from softsgx.machine.enclave import EnclaveState
from softsgx.machine.keys import derive_einittoken_key
from softsgx.machine.machine import Machine
from softsgx.machine.package import Package, is_cpusvn_beyond
from softsgx.machine.processor import Processor

_CONTROLLED = AttributeFlags.EINITTOKENKEY
"""CONTROLLED_ATTRIBUTES: what only the launch key's owner may set."""


def einit(machine: Machine, lp: Processor) -> None:
    """Check SIGSTRUCT and EINITTOKEN against the SECS, and let the enclave run."""
    # OPERANDS
    rbx, rcx, rdx = lp.regs.rbx, lp.regs.rcx, lp.regs.rdx
    check_aligned(rbx, Sigstruct.ALIGN, "RBX")
    check_aligned(rcx, PAGE_SIZE, "RCX")
    check_aligned(rdx, Einittoken.ALIGN, "RDX")
    page = lp.memory.page(rcx)
    raw_sigstruct = lp.memory.load(rbx, Sigstruct.SIZE)
    raw_token = lp.memory.load(rdx, Einittoken.SIZE)
    sigstruct = Sigstruct.from_bytes(raw_sigstruct)
    token = Einittoken.from_bytes(raw_token)

    # CHECKS
    _check_form(sigstruct, raw_sigstruct)
    if lp.event_pending:
        raise LeafFailed(SgxError.UNMASKED_EVENT)
    _check_signature(sigstruct, raw_sigstruct)
    enclave = check_secs(machine, page, rcx)
    secs = enclave.secs
    if any(sigstruct.isvfamilyid) and not secs.attributes.flags & AttributeFlags.KSS:
        raise LeafFailed(SgxError.INVALID_SIG_STRUCT, "ISVFAMILYID without KSS")
    if is_initialized(enclave):
        raise GeneralProtection("the enclave is initialized already")
    mrenclave = enclave.measurement.digest()
    if sigstruct.enclavehash != mrenclave:
        raise LeafFailed(SgxError.INVALID_MEASUREMENT, "ENCLAVEHASH is not MRENCLAVE")
    mrsigner = sha256(sigstruct.modulus)
    authorized = mrsigner == machine.package.lepubkeyhash
    if secs.attributes.flags & _CONTROLLED and not authorized:
        raise LeafFailed(SgxError.INVALID_ATTRIBUTE, "EINITTOKENKEY is controlled")
    _check_selections(enclave, sigstruct)
    if token.valid & VALID:
        _check_token(machine.package, enclave, token, raw_token)
        _check_token_is_for(token, mrenclave, mrsigner, secs.attributes)
    elif not authorized:
        raise LeafFailed(SgxError.INVALID_EINITTOKEN, "no token, nor the launch key")

    # OPERATION
    attributes = secs.attributes
    enclave.secs = replace(
        secs,
        attributes=replace(attributes, flags=attributes.flags | AttributeFlags.INIT),
        mrenclave=mrenclave,
        mrsigner=mrsigner,
        isvprodid=sigstruct.isvprodid,
        isvsvn=sigstruct.isvsvn,
    )
    enclave.isvextprodid = sigstruct.isvextprodid
    enclave.isvfamilyid = sigstruct.isvfamilyid

    # RESULT
    set_result(lp)


def _check_form(sigstruct: Sigstruct, raw: bytes) -> None:
    if (
        sigstruct.header != HEADER
        or sigstruct.vendor not in (0, VENDOR_INTEL)
        or sigstruct.header2 != HEADER2
        or sigstruct.exponent != EXPONENT
        or not Sigstruct.reserved_is_zero(raw)
    ):
        raise LeafFailed(SgxError.INVALID_SIG_STRUCT, "a constant of SIGSTRUCT")


def _check_signature(sigstruct: Sigstruct, raw: bytes) -> None:
    given = Quotients(sigstruct.q1, sigstruct.q2)
    try:
        check_signature(sigstruct.modulus, sigstruct.signature, given, signed_part(raw))
    except SignatureError as error:
        raise LeafFailed(SgxError.INVALID_SIGNATURE, str(error)) from error


def _check_selections(enclave: EnclaveState, sigstruct: Sigstruct) -> None:
    # The CET attributes come last in the manual; they are not enumerated here.
    own, wanted = enclave.secs.attributes, sigstruct.attributes
    mask = sigstruct.attributemask
    if (own.flags ^ wanted.flags) & mask.flags or (own.xfrm ^ wanted.xfrm) & mask.xfrm:
        raise LeafFailed(SgxError.INVALID_ATTRIBUTE, "ATTRIBUTES under ATTRIBUTEMASK")
    if (enclave.secs.miscselect ^ sigstruct.miscselect) & sigstruct.miscmask:
        raise LeafFailed(SgxError.INVALID_ATTRIBUTE, "MISCSELECT under MISCMASK")


def _check_token(
    package: Package, enclave: EnclaveState, token: Einittoken, raw: bytes
) -> None:
    debug = AttributeFlags.DEBUG
    if (
        token.maskedattributesle.flags & debug
        and not enclave.secs.attributes.flags & debug
    ):
        raise LeafFailed(SgxError.INVALID_EINITTOKEN, "a debug launch enclave's token")
    if token.valid & ~VALID or not Einittoken.reserved_is_zero(raw):
        raise LeafFailed(SgxError.INVALID_EINITTOKEN, "reserved bits of EINITTOKEN")
    if is_cpusvn_beyond(token.cpusvnle, package.cpusvn):
        raise LeafFailed(SgxError.INVALID_CPUSVN, "CPUSVNLE is beyond this CPU's")
    mac = aes_cmac(derive_einittoken_key(package, token), raw[:MACED])
    try:
        check_equal(mac, token.mac)
    except MismatchError as error:
        raise LeafFailed(SgxError.INVALID_EINITTOKEN, "the token's MAC") from error


def _check_token_is_for(
    token: Einittoken, mrenclave: bytes, mrsigner: bytes, attributes: Attributes
) -> None:
    if token.mrenclave != mrenclave or token.mrsigner != mrsigner:
        raise LeafFailed(SgxError.INVALID_MEASUREMENT, "another enclave's token")
    if token.attributes != attributes:
        raise LeafFailed(SgxError.INVALID_ATTRIBUTE, "the token's ATTRIBUTES")
