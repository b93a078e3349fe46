from collections.abc import Callable
from dataclasses import replace

import pytest

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.einittoken import Einittoken
from softsgx.arch.errors import SgxError
from softsgx.arch.faults import GeneralProtection, PageFault
from softsgx.arch.leaves import Encls
from softsgx.arch.secs import AttributeFlags, Attributes, Miscselect
from softsgx.arch.sigstruct import Sigstruct
from softsgx.crypto.sha256 import sha256
from softsgx.machine.memory import epc_address
from tests.support import (
    Ring0,
    make_machine,
    make_secs,
    refuses,
    signing_key,
    small_enclave,
)

MODE64 = AttributeFlags.MODE64BIT


@pytest.fixture
def ring0() -> Ring0:
    return small_enclave(initialized=False)


def built(**secs: object) -> Ring0:
    """An enclave of nothing but its SECS."""
    ring0 = Ring0(make_machine())
    ring0.ecreate(0, make_secs(**secs))
    return ring0


def test_commits_the_identity(ring0: Ring0) -> None:
    mrenclave = ring0.enclave().measurement.digest()
    ring0.einit()
    secs = ring0.enclave().secs
    assert secs.attributes.flags & AttributeFlags.INIT
    assert secs.mrenclave == mrenclave
    assert secs.mrsigner == sha256(signing_key().modulus)
    assert (secs.isvprodid, secs.isvsvn) == (7, 3)


def test_commits_family_and_extended_product_id() -> None:
    kss = Attributes(flags=MODE64 | AttributeFlags.KSS, xfrm=3)
    ring0 = built(attributes=kss, configid=b"\7" * 64, configsvn=9)
    family, extended = b"\1" * 16, b"\2" * 16
    sigstruct = ring0.sigstruct(
        change=lambda s: replace(s, isvfamilyid=family, isvextprodid=extended)
    )
    ring0.authorize(sigstruct)
    ring0.einit(sigstruct)
    enclave = ring0.enclave()
    assert (enclave.isvfamilyid, enclave.isvextprodid) == (family, extended)
    assert (enclave.secs.configid, enclave.secs.configsvn) == (b"\7" * 64, 9)


def test_clears_rax_and_flags_on_success(ring0: Ring0) -> None:
    ring0.lp.regs.rflags = 0x8D7
    ring0.einit()
    assert (ring0.lp.regs.rax, ring0.lp.regs.rflags) == (0, 0x2)


def test_an_error_sets_rax_and_zf_alone(ring0: Ring0) -> None:
    ring0.lp.regs.rflags = 0x8D7
    ring0.memory.put(0x8000, bytes(Sigstruct.SIZE))
    ring0.memory.put(0x9000, bytes(Einittoken.SIZE))
    ring0.leaf(Encls.EINIT, 0x8000, epc_address(0), 0x9000)
    assert ring0.lp.regs.rax == SgxError.INVALID_SIG_STRUCT
    assert ring0.lp.regs.rflags == 0x42


# Operands


@pytest.mark.parametrize(
    ("register", "off", "why"), [(0, 512, "RBX"), (1, 512, "RCX"), (2, 256, "RDX")]
)
def test_faults_when_an_operand_is_not_aligned(
    ring0: Ring0, register: int, off: int, why: str
) -> None:
    ring0.memory.put(0x8000, bytes(0x2000))
    operands = [0x8000, epc_address(0), 0x9000]
    operands[register] += off
    with refuses(ring0.machine, GeneralProtection, why):
        ring0.leaf(Encls.EINIT, *operands)


def test_faults_when_the_secs_is_outside_the_epc(ring0: Ring0) -> None:
    with refuses(ring0.machine, PageFault, "not in the EPC"):
        ring0.leaf(Encls.EINIT, 0x8000, 0x8000, 0x9000)


@pytest.mark.parametrize("absent", [0x8000, 0x9000])
def test_faults_when_a_structure_is_not_mapped(ring0: Ring0, absent: int) -> None:
    ring0.memory.put(0x9000 if absent == 0x8000 else 0x8000, bytes(0x1000))
    with refuses(ring0.machine, PageFault, "nothing mapped"):
        ring0.leaf(Encls.EINIT, 0x8000, epc_address(0), 0x9000)


@pytest.mark.parametrize("secs", [3, 9], ids=["a REG page", "a free page"])
def test_faults_when_rcx_is_not_a_secs(ring0: Ring0, secs: int) -> None:
    sigstruct = ring0.sigstruct()
    with refuses(ring0.machine, PageFault, "not a SECS"):
        ring0.einit(sigstruct, secs=secs)


def test_faults_when_the_enclave_is_initialized(ring0: Ring0) -> None:
    ring0.einit()
    with refuses(ring0.machine, GeneralProtection, "initialized already"):
        ring0.einit()


# SIGSTRUCT


def altered(ring0: Ring0, offset: int, value: int) -> bytes:
    """A good SIGSTRUCT with one byte set afterwards."""
    raw = bytearray(ring0.sigstruct())
    ring0.authorize(bytes(raw))
    raw[offset] = value
    return bytes(raw)


@pytest.mark.parametrize(
    ("offset", "value"),
    [
        pytest.param(0, 7, id="header"),
        pytest.param(16, 1, id="vendor"),
        pytest.param(24, 2, id="header2"),
        pytest.param(512, 17, id="exponent"),
        pytest.param(44, 1, id="reserved 44"),
        pytest.param(127, 1, id="reserved 127"),
        pytest.param(908, 1, id="CET_ATTRIBUTES, reserved"),
        pytest.param(909, 1, id="CET_ATTRIBUTES_MASK, reserved"),
        pytest.param(910, 1, id="reserved 910"),
        pytest.param(992, 1, id="reserved 992"),
        pytest.param(1039, 1, id="reserved 1039"),
    ],
)
def test_error_when_a_constant_or_reserved_byte_is_wrong(
    ring0: Ring0, offset: int, value: int
) -> None:
    sigstruct = altered(ring0, offset, value)
    with refuses(ring0.machine, SgxError.INVALID_SIG_STRUCT, "constant"):
        ring0.einit(sigstruct)


def test_takes_intels_vendor_number(ring0: Ring0) -> None:
    sigstruct = ring0.sigstruct(change=lambda s: replace(s, vendor=0x8086))
    ring0.authorize(sigstruct)
    ring0.einit(sigstruct)


def test_error_when_an_event_is_pending(ring0: Ring0) -> None:
    ring0.lp.event_pending = True
    sigstruct = altered(ring0, 516, 1)
    with refuses(ring0.machine, SgxError.UNMASKED_EVENT):
        ring0.einit(sigstruct)


def test_the_form_is_judged_before_events(ring0: Ring0) -> None:
    ring0.lp.event_pending = True
    sigstruct = altered(ring0, 0, 7)
    with refuses(ring0.machine, SgxError.INVALID_SIG_STRUCT):
        ring0.einit(sigstruct)


@pytest.mark.parametrize(
    "offset",
    [
        pytest.param(128, id="modulus"),
        pytest.param(511, id="modulus, its highest byte"),
        pytest.param(516, id="signature"),
        pytest.param(899, id="signature, its highest byte"),
        pytest.param(1040, id="q1"),
        pytest.param(1423, id="q1, its highest byte"),
        pytest.param(1424, id="q2"),
        pytest.param(1807, id="q2, its highest byte"),
        pytest.param(20, id="signed part, first half"),
        pytest.param(1026, id="signed part, second half"),
    ],
)
def test_error_when_the_signature_does_not_verify(ring0: Ring0, offset: int) -> None:
    raw = ring0.sigstruct()
    sigstruct = altered(ring0, offset, raw[offset] ^ 1)
    with refuses(ring0.machine, SgxError.INVALID_SIGNATURE):
        ring0.einit(sigstruct)


def test_error_when_a_family_is_used_without_kss(ring0: Ring0) -> None:
    sigstruct = ring0.sigstruct(change=lambda s: replace(s, isvfamilyid=b"\1" * 16))
    ring0.authorize(sigstruct)
    with refuses(ring0.machine, SgxError.INVALID_SIG_STRUCT, "without KSS"):
        ring0.einit(sigstruct)


def test_error_when_the_measurement_differs(ring0: Ring0) -> None:
    sigstruct = ring0.sigstruct()
    ring0.authorize(sigstruct)
    ring0.eadd(9, 9 * PAGE_SIZE)
    with refuses(ring0.machine, SgxError.INVALID_MEASUREMENT, "ENCLAVEHASH"):
        ring0.einit(sigstruct)


def test_error_when_eadd_order_differs() -> None:
    one, other = built(), built()
    for ring0, order in ((one, (1, 2)), (other, (2, 1))):
        for page in order:
            ring0.eadd(page, page * PAGE_SIZE)
    sigstruct = one.sigstruct()
    other.authorize(sigstruct)
    with refuses(other.machine, SgxError.INVALID_MEASUREMENT, "ENCLAVEHASH"):
        other.einit(sigstruct)


def launch_attributes() -> Attributes:
    return Attributes(flags=MODE64 | AttributeFlags.EINITTOKENKEY, xfrm=3)


def test_error_when_a_controlled_attribute_is_not_authorized() -> None:
    ring0 = built(attributes=launch_attributes())
    sigstruct = ring0.sigstruct()
    with refuses(ring0.machine, SgxError.INVALID_ATTRIBUTE, "controlled"):
        ring0.einit(sigstruct)


def test_the_launch_keys_owner_may_set_a_controlled_attribute() -> None:
    ring0 = built(attributes=launch_attributes())
    ring0.einit()


def test_provisionkey_is_not_controlled() -> None:
    flags = MODE64 | AttributeFlags.PROVISIONKEY
    ring0 = built(attributes=Attributes(flags=flags, xfrm=3))
    ring0.einit()


def other_flags(s: Sigstruct) -> Sigstruct:
    flags = s.attributes.flags ^ AttributeFlags.DEBUG
    return replace(s, attributes=replace(s.attributes, flags=flags))


def other_xfrm(s: Sigstruct) -> Sigstruct:
    return replace(s, attributes=replace(s.attributes, xfrm=7))


def no_mask(s: Sigstruct) -> Sigstruct:
    mask = Attributes(flags=AttributeFlags(0), xfrm=0)
    return replace(s, attributemask=mask, miscmask=Miscselect(0))


def other_misc(s: Sigstruct) -> Sigstruct:
    return replace(s, miscselect=Miscselect.EXINFO)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (other_flags, "ATTRIBUTEMASK"),
        (other_xfrm, "ATTRIBUTEMASK"),
        (other_misc, "MISCMASK"),
    ],
)
def test_error_when_a_selection_differs_under_its_mask(
    ring0: Ring0, change: Callable[[Sigstruct], Sigstruct], why: str
) -> None:
    sigstruct = ring0.sigstruct(change=change)
    ring0.authorize(sigstruct)
    with refuses(ring0.machine, SgxError.INVALID_ATTRIBUTE, why):
        ring0.einit(sigstruct)


@pytest.mark.parametrize("change", [other_flags, other_xfrm, other_misc])
def test_a_selection_outside_its_mask_may_differ(
    ring0: Ring0, change: Callable[[Sigstruct], Sigstruct]
) -> None:
    sigstruct = ring0.sigstruct(change=lambda s: no_mask(change(s)))
    ring0.authorize(sigstruct)
    ring0.einit(sigstruct)


def test_two_signers_have_two_identities() -> None:
    one, other = built(), built()
    for ring0, key in ((one, signing_key(0)), (other, signing_key(1))):
        sigstruct = ring0.sigstruct(key=key)
        ring0.authorize(sigstruct)
        ring0.einit(sigstruct)
    assert one.enclave().secs.mrsigner != other.enclave().secs.mrsigner
