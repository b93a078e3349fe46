"""EINIT with an EINITTOKEN, valid and not."""

from dataclasses import replace

import pytest

from softsgx.arch.einittoken import MACED, Einittoken
from softsgx.arch.errors import SgxError
from softsgx.arch.secs import AttributeFlags, Attributes
from softsgx.crypto.cmac import aes_cmac
from softsgx.crypto.sha256 import sha256
from softsgx.machine.keys import derive_einittoken_key
from tests.support import (
    Ring0,
    changed,
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


def token_for(ring0: Ring0, **changes: object) -> Einittoken:
    """A token as the launch enclave of this package's launch key would MAC it."""
    enclave = ring0.enclave()
    token = replace(
        Einittoken.zero(),
        valid=1,
        attributes=enclave.secs.attributes,
        mrenclave=enclave.measurement.digest(),
        mrsigner=sha256(signing_key().modulus),
        cpusvnle=ring0.machine.package.cpusvn,
        isvprodidle=0x20,
        isvsvnle=4,
        maskedattributesle=Attributes(flags=AttributeFlags.INIT, xfrm=3),
        keyid=b"\x33" * 32,
    )
    return changed(token, changes)


def maced(ring0: Ring0, token: Einittoken) -> bytes:
    key = derive_einittoken_key(ring0.machine.package, token)
    return bytes(replace(token, mac=aes_cmac(key, bytes(token)[:MACED])))


def test_without_a_token_only_the_launch_key_may_launch(ring0: Ring0) -> None:
    sigstruct = ring0.sigstruct()
    with refuses(ring0.machine, SgxError.INVALID_EINITTOKEN, "nor the launch key"):
        ring0.einit(sigstruct)
    ring0.authorize(sigstruct)
    ring0.einit(sigstruct)


def test_a_token_lets_another_signer_launch(ring0: Ring0) -> None:
    ring0.einit(ring0.sigstruct(), maced(ring0, token_for(ring0)))
    assert ring0.enclave().secs.attributes.flags & AttributeFlags.INIT


def test_a_token_that_says_not_valid_is_not_read(ring0: Ring0) -> None:
    sigstruct = ring0.sigstruct()
    ring0.authorize(sigstruct)
    ring0.einit(sigstruct, b"\xfe" + b"\xff" * (Einittoken.SIZE - 1))


def refuse_token(ring0: Ring0, token: bytes, code: SgxError, why: str) -> None:
    sigstruct = ring0.sigstruct()
    with refuses(ring0.machine, code, why):
        ring0.einit(sigstruct, token)


def test_error_on_a_debug_launch_enclaves_token_for_production() -> None:
    debug = Attributes(flags=AttributeFlags.INIT | AttributeFlags.DEBUG, xfrm=3)
    production = built(attributes=Attributes(flags=MODE64, xfrm=3))
    token = maced(production, token_for(production, maskedattributesle=debug))
    refuse_token(production, token, SgxError.INVALID_EINITTOKEN, "debug launch")
    production.einit(production.sigstruct(), maced(production, token_for(production)))
    under_debug = built()
    token = maced(under_debug, token_for(under_debug, maskedattributesle=debug))
    under_debug.einit(under_debug.sigstruct(), token)


def test_error_on_reserved_bits_of_valid(ring0: Ring0) -> None:
    token = maced(ring0, token_for(ring0, valid=3))
    refuse_token(ring0, token, SgxError.INVALID_EINITTOKEN, "reserved bits")


@pytest.mark.parametrize("offset", [4, 47, 96, 127, 160, 191, 212, 213, 235])
def test_error_on_reserved_bytes_of_a_token(ring0: Ring0, offset: int) -> None:
    raw = bytearray(bytes(token_for(ring0)))
    raw[offset] = 1
    key = derive_einittoken_key(
        ring0.machine.package, Einittoken.from_bytes(bytes(raw))
    )
    raw[288:304] = aes_cmac(key, bytes(raw[:MACED]))
    refuse_token(ring0, bytes(raw), SgxError.INVALID_EINITTOKEN, "reserved bits")


def test_error_when_cpusvnle_is_beyond_the_cpus(ring0: Ring0) -> None:
    svn = bytes([0, 0, 1]) + bytes(13)
    token = maced(ring0, token_for(ring0, cpusvnle=svn))
    refuse_token(ring0, token, SgxError.INVALID_CPUSVN, "CPUSVNLE")


def test_a_token_of_an_older_cpusvn_is_good(ring0: Ring0) -> None:
    token = maced(ring0, token_for(ring0, cpusvnle=bytes(16)))
    ring0.einit(ring0.sigstruct(), token)


@pytest.mark.parametrize(
    "offset", [48, 64, 128, 192, 208, 210, 236, 240, 256, 288], ids=str
)
def test_error_when_any_field_of_a_token_was_changed(ring0: Ring0, offset: int) -> None:
    raw = bytearray(maced(ring0, token_for(ring0)))
    raw[offset] ^= 1
    refuse_token(ring0, bytes(raw), SgxError.INVALID_EINITTOKEN, "MAC")


def test_error_on_a_token_of_another_package(ring0: Ring0) -> None:
    other = small_enclave(make_machine(seed=b"other"), initialized=False)
    token = maced(other, token_for(ring0))
    refuse_token(ring0, token, SgxError.INVALID_EINITTOKEN, "MAC")


def test_error_on_a_token_of_another_launch_key(ring0: Ring0) -> None:
    token = maced(ring0, token_for(ring0))
    ring0.machine.package.lepubkeyhash = bytes(32)
    refuse_token(ring0, token, SgxError.INVALID_EINITTOKEN, "MAC")


def test_error_on_a_token_of_another_owner(ring0: Ring0) -> None:
    token = maced(ring0, token_for(ring0))
    ring0.machine.package.ownerepoch = b"\1" * 16
    refuse_token(ring0, token, SgxError.INVALID_EINITTOKEN, "MAC")


@pytest.mark.parametrize("field", ["mrenclave", "mrsigner"])
def test_error_on_another_enclaves_token(ring0: Ring0, field: str) -> None:
    token = maced(ring0, token_for(ring0, **{field: b"\1" * 32}))
    refuse_token(ring0, token, SgxError.INVALID_MEASUREMENT, "another enclave's")


def test_error_when_the_tokens_attributes_are_not_the_enclaves(ring0: Ring0) -> None:
    other = Attributes(flags=MODE64, xfrm=3)
    token = maced(ring0, token_for(ring0, attributes=other))
    refuse_token(ring0, token, SgxError.INVALID_ATTRIBUTE, "token's ATTRIBUTES")


def test_a_failed_launch_may_be_tried_again(ring0: Ring0) -> None:
    with refuses(ring0.machine, SgxError.INVALID_EINITTOKEN):
        ring0.einit(ring0.sigstruct())
    ring0.einit()
