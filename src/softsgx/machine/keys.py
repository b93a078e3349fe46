"""Key derivation: what goes into each of the five keys, and the AES-CMAC over it.

SDM: "EGETKEY—Retrieves a Cryptographic Key".  The manual names the fields and leaves
their order and the function to the processor; both are ours.
Every key has DOMAIN in its material and the fuses of a software package at its root,
so that no key of this platform can be taken for one of hardware.
"""

from dataclasses import replace

from softsgx.arch.einittoken import Einittoken
from softsgx.arch.key import Keyname, Keypolicy, Keyrequest
from softsgx.arch.layout import Layout, at
from softsgx.arch.secs import AttributeFlags, Attributes, Miscselect, Secs
from softsgx.arch.targetinfo import Targetinfo
from softsgx.crypto.cmac import aes_cmac
from softsgx.machine.enclave import EnclaveState
from softsgx.machine.package import Package

DOMAIN = b"softsgx software SGX key v1\0\0\0\0\0"
"""32 bytes at the head of all derivation material."""

PADDING = (
    b"\x00\x01"
    + b"\xff" * 330
    + bytes.fromhex("003031300d060960864801650304020105000420")
)
"""HARDCODED_PKCS1_5_PADDING, 352 bytes: what a good signature leaves above its hash."""

REQUIRED_SEALING_FLAGS = AttributeFlags.INIT | AttributeFlags.DEBUG
"""Attributes that go into a key whatever KEYREQUEST.ATTRIBUTEMASK says."""


# fmt: off
class Keydependencies(Layout, size=768):
    """TMP_KEYDEPENDENCIES: the material of one key; the offsets are this platform's."""

    domain:              bytes      = at(  0,  32)
    keyname:             int        = at( 32,   2)
    isvprodid:           int        = at( 34,   2)
    isvsvn:              int        = at( 36,   2)
    configsvn:           int        = at( 38,   2)
    keypolicy:           Keypolicy  = at( 40,   2)
    miscselect:          Miscselect = at( 44,   4)
    miscmask:            Miscselect = at( 48,   4)
    isvfamilyid:         bytes      = at( 64,  16)
    isvextprodid:        bytes      = at( 80,  16)
    sgxownerepoch:       bytes      = at( 96,  16)
    attributes:          Attributes = at(112,  16)
    attributesmask:      Attributes = at(128,  16)
    mrenclave:           bytes      = at(144,  32)
    mrsigner:            bytes      = at(176,  32)
    keyid:               bytes      = at(208,  32)
    seal_key_fuses:      bytes      = at(240,  16)
    cpusvn:              bytes      = at(256,  16)
    configid:            bytes      = at(272,  64)
    padding:             bytes      = at(336, 352)
# fmt: on


def derive_key(package: Package, material: Keydependencies) -> bytes:
    """Return the 16-byte key of this package for *material*."""
    return aes_cmac(package.fuses.provisioning_root, bytes(material))


def derive_einittoken_key(package: Package, token: Einittoken) -> bytes:
    """Return the launch key with which a launch enclave MACed *token*.

    SDM: "EINIT—Initialize an Enclave for Execution".
    """
    material = replace(
        _base(Keyname.EINITTOKEN_KEY),
        isvprodid=token.isvprodidle,
        isvsvn=token.isvsvnle,
        sgxownerepoch=package.ownerepoch,
        attributes=token.maskedattributesle,
        mrsigner=package.lepubkeyhash,
        keyid=token.keyid,
        seal_key_fuses=package.fuses.seal_fuses,
        cpusvn=token.cpusvnle,
        miscselect=token.maskedmiscselectle,
    )
    return derive_key(package, material)


def derive_report_key(package: Package, target: Targetinfo, keyid: bytes) -> bytes:
    """Return the key that MACs reports for *target*.

    SDM: "EREPORT—Create a Cryptographic Report of the Enclave".
    """
    return derive_key(package, _report(package, target, keyid))


def derive_requested_key(
    package: Package, enclave: EnclaveState, request: Keyrequest
) -> bytes:
    """Return the key that EGETKEY gives *enclave*; all checks are EGETKEY's.

    KEYREQUEST.KEYNAME must be one of Keyname.
    """
    return derive_key(package, _material(package, enclave, request))


def targetinfo_of(secs: Secs) -> Targetinfo:
    """Return the TARGETINFO under which an enclave verifies reports made for it."""
    return replace(
        Targetinfo.zero(),
        measurement=secs.mrenclave,
        attributes=secs.attributes,
        configsvn=secs.configsvn,
        miscselect=secs.miscselect,
        configid=secs.configid,
    )


def masked_attributes(secs: Secs, request: Keyrequest) -> Attributes:
    """Return TMP_ATTRIBUTES: the attributes that the request lets into the key."""
    mask = request.attributemask
    return Attributes(
        flags=(mask.flags | REQUIRED_SEALING_FLAGS) & secs.attributes.flags,
        xfrm=mask.xfrm & secs.attributes.xfrm,
    )


def _base(keyname: Keyname) -> Keydependencies:
    return replace(
        Keydependencies.zero(), domain=DOMAIN, keyname=keyname, padding=PADDING
    )


def _material(
    package: Package, enclave: EnclaveState, request: Keyrequest
) -> Keydependencies:
    secs = enclave.secs
    match Keyname(request.keyname):
        case Keyname.REPORT_KEY:
            return _report(package, targetinfo_of(secs), request.keyid)
        case Keyname.EINITTOKEN_KEY:
            return _einittoken(package, secs, request)
        case Keyname.PROVISION_KEY:
            return _provision(secs, request)
        case Keyname.PROVISION_SEAL_KEY:
            return _provision_seal(package, enclave, request)
        case Keyname.SEAL_KEY:
            return _seal(package, enclave, request)


def _report(package: Package, target: Targetinfo, keyid: bytes) -> Keydependencies:
    return replace(
        _base(Keyname.REPORT_KEY),
        sgxownerepoch=package.ownerepoch,
        attributes=target.attributes,
        mrenclave=target.measurement,
        keyid=keyid,
        seal_key_fuses=package.fuses.seal_fuses,
        cpusvn=package.cpusvn,
        miscselect=target.miscselect,
        configid=target.configid,
        configsvn=target.configsvn,
    )


def _requested(keyname: Keyname, secs: Secs, request: Keyrequest) -> Keydependencies:
    """Fill in what each key has that may be asked for an older security version."""
    return replace(
        _base(keyname),
        isvprodid=secs.isvprodid,
        isvsvn=request.isvsvn,
        attributes=masked_attributes(secs, request),
        mrsigner=secs.mrsigner,
        cpusvn=request.cpusvn,
        miscselect=request.miscmask & secs.miscselect,
    )


def _einittoken(package: Package, secs: Secs, request: Keyrequest) -> Keydependencies:
    return replace(
        _requested(Keyname.EINITTOKEN_KEY, secs, request),
        sgxownerepoch=package.ownerepoch,
        keyid=request.keyid,
        seal_key_fuses=package.fuses.seal_fuses,
    )


def _provision(secs: Secs, request: Keyrequest) -> Keydependencies:
    return replace(
        _requested(Keyname.PROVISION_KEY, secs, request),
        attributesmask=request.attributemask,
        miscmask=_inverse(request.miscmask),
    )


def _provision_seal(
    package: Package, enclave: EnclaveState, request: Keyrequest
) -> Keydependencies:
    return replace(
        _by_policy(
            _requested(Keyname.PROVISION_SEAL_KEY, enclave.secs, request),
            enclave,
            request,
        ),
        attributesmask=request.attributemask,
        miscmask=_inverse(request.miscmask),
        seal_key_fuses=package.fuses.seal_fuses,
    )


def _seal(
    package: Package, enclave: EnclaveState, request: Keyrequest
) -> Keydependencies:
    secs, policy = enclave.secs, request.keypolicy
    material = _requested(Keyname.SEAL_KEY, secs, request)
    return replace(
        _by_policy(material, enclave, request),
        sgxownerepoch=package.ownerepoch,
        attributesmask=request.attributemask,
        mrenclave=secs.mrenclave if policy & Keypolicy.MRENCLAVE else bytes(32),
        mrsigner=secs.mrsigner if policy & Keypolicy.MRSIGNER else bytes(32),
        keyid=request.keyid,
        seal_key_fuses=package.fuses.seal_fuses,
        miscmask=_inverse(request.miscmask),
    )


def _by_policy(
    material: Keydependencies, enclave: EnclaveState, request: Keyrequest
) -> Keydependencies:
    """Add what KEYPOLICY selects of the product's and configuration's identity."""
    secs, policy = enclave.secs, request.keypolicy
    config = bool(policy & Keypolicy.CONFIGID)
    return replace(
        material,
        keypolicy=policy,
        isvprodid=0 if policy & Keypolicy.NOISVPRODID else secs.isvprodid,
        isvfamilyid=(
            enclave.isvfamilyid if policy & Keypolicy.ISVFAMILYID else bytes(16)
        ),
        isvextprodid=(
            enclave.isvextprodid if policy & Keypolicy.ISVEXTPRODID else bytes(16)
        ),
        configid=secs.configid if config else bytes(64),
        configsvn=request.configsvn if config else 0,
    )


def _inverse(mask: Miscselect) -> Miscselect:
    return Miscselect(~int(mask) & 0xFFFF_FFFF)
