"""EINIT's form and signature checks on certificates of real publishers."""

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from softsgx.arch.errors import SgxError
from softsgx.arch.secs import AttributeFlags, Attributes, Miscselect
from softsgx.arch.sigstruct import Sigstruct
from softsgx.crypto.sha256 import sha256
from tests.support import Ring0, make_machine, make_secs, refuses

FOLDER = Path(__file__).resolve().parents[1] / "vectors" / "sigstructs"
INDEX: dict[str, dict[str, Any]] = tomllib.loads((FOLDER / "index.toml").read_text())
EACH = pytest.mark.parametrize("name", sorted(INDEX))


def real(name: str) -> bytes:
    return bytes.fromhex((FOLDER / f"{name}.hex").read_text())


def test_all_are_in_the_index() -> None:
    assert len(INDEX) == 47
    assert {path.stem for path in FOLDER.glob("*.hex")} == set(INDEX)


@EACH
def test_is_read_as_it_was_read_by_another_program(name: str) -> None:
    raw, known = real(name), INDEX[name]
    sigstruct = Sigstruct.from_bytes(raw)
    assert sha256(raw).hex() == known["sha256"]
    assert sha256(sigstruct.modulus).hex() == known["mrsigner"]
    assert sigstruct.enclavehash.hex() == known["mrenclave"]
    assert f"{sigstruct.attributes.flags:016x}" == known["attributes"]
    assert f"{sigstruct.attributes.xfrm:016x}" == known["xfrm"]
    assert f"{sigstruct.attributemask.flags:016x}" == known["attribute_mask"]
    assert f"{sigstruct.attributemask.xfrm:016x}" == known["xfrm_mask"]
    assert raw[900:904].hex() == known["miscselect"]
    assert raw[904:908].hex() == known["miscmask"]
    assert sigstruct.miscmask == int.from_bytes(raw[904:908], "little")
    assert sigstruct.isvprodid == known["isvprodid"]
    assert sigstruct.isvsvn == known["isvsvn"]


def enclave_of_another() -> Ring0:
    ring0 = Ring0(make_machine())
    flags = AttributeFlags.MODE64BIT | AttributeFlags.KSS
    ring0.ecreate(0, make_secs(attributes=Attributes(flags=flags, xfrm=3)))
    return ring0


@EACH
def test_passes_up_to_the_measurement_that_we_cannot_have(name: str) -> None:
    ring0 = enclave_of_another()
    with refuses(ring0.machine, SgxError.INVALID_MEASUREMENT):
        ring0.einit(real(name))


@EACH
def test_launches_an_enclave_with_that_measurement(name: str) -> None:
    sigstruct = Sigstruct.from_bytes(real(name))
    ring0 = Ring0(make_machine({"xfrm": (1 << 64) - 1}))
    ring0.ecreate()
    state = ring0.enclave()
    flags = AttributeFlags(sigstruct.attributes.flags | AttributeFlags.KSS)
    if sigstruct.attributemask.flags & AttributeFlags.KSS:
        flags = sigstruct.attributes.flags
    state.secs = replace(
        state.secs,
        attributes=Attributes(flags=flags, xfrm=sigstruct.attributes.xfrm),
        miscselect=Miscselect(sigstruct.miscselect),
    )
    state.measurement = Replayed(sigstruct.enclavehash)  # type: ignore[assignment]  # -- only its digest is asked for
    ring0.authorize(bytes(sigstruct))
    ring0.einit(real(name))
    assert state.secs.mrsigner.hex() == INDEX[name]["mrsigner"]
    assert state.secs.attributes.flags & AttributeFlags.INIT


class Replayed:
    """A measurement that comes out as wanted."""

    blocks = 0

    def __init__(self, digest: bytes) -> None:
        self._digest = digest

    def digest(self) -> bytes:
        return self._digest


@EACH
@pytest.mark.parametrize(
    ("offset", "code"),
    [
        pytest.param(1, SgxError.INVALID_SIG_STRUCT, id="header"),
        pytest.param(16, SgxError.INVALID_SIG_STRUCT, id="vendor"),
        pytest.param(30, SgxError.INVALID_SIG_STRUCT, id="header2"),
        pytest.param(512, SgxError.INVALID_SIG_STRUCT, id="exponent"),
        pytest.param(600, SgxError.INVALID_SIGNATURE, id="signature"),
        pytest.param(970, SgxError.INVALID_SIGNATURE, id="what is signed"),
        pytest.param(1100, SgxError.INVALID_SIGNATURE, id="q1"),
        pytest.param(1500, SgxError.INVALID_SIGNATURE, id="q2"),
    ],
)
def test_one_bit_off_gives_the_right_code(
    name: str, offset: int, code: SgxError
) -> None:
    raw = bytearray(real(name))
    raw[offset] ^= 0x10
    ring0 = enclave_of_another()
    with refuses(ring0.machine, code):
        ring0.einit(bytes(raw))
