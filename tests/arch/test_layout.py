"""The engine: what a table may not say, and what a value may not hold."""

from dataclasses import replace

import pytest

from softsgx.arch.key import Keyrequest
from softsgx.arch.layout import Layout, LayoutError, at
from softsgx.arch.secinfo import Secinfo, SecinfoFlags


def test_fields_may_not_overlap() -> None:
    with pytest.raises(LayoutError, match=r"_Bad.b overlaps its neighbour"):

        class _Bad(Layout, size=8):
            a: int = at(0, 4)
            b: int = at(3, 4)


def test_fields_may_not_pass_the_end() -> None:
    with pytest.raises(LayoutError, match=r"ends at 9, past its size 8"):

        class _Bad(Layout, size=8):
            a: int = at(1, 8)


@pytest.mark.parametrize("size", [511, 513])
def test_only_the_exact_size_decodes(size: int) -> None:
    with pytest.raises(LayoutError, match=f"is 512 bytes, got {size}"):
        Keyrequest.from_bytes(bytes(size))


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("isvsvn", 0x10000, r"isvsvn: 0x10000 exceeds 2 bytes"),
        ("isvsvn", -1, r"exceeds"),
        ("keyid", b"short", r"keyid: 5 bytes, cell holds 32"),
        ("isvsvn", "text", r"isvsvn: cannot store str"),
    ],
)
def test_a_value_that_does_not_fit_is_an_error(
    field: str, value: object, why: str
) -> None:
    request = replace(Keyrequest.zero(), **{field: value})  # type: ignore[arg-type]  # -- wrong on purpose
    with pytest.raises(LayoutError, match=why):
        bytes(request)


@pytest.mark.parametrize("offset", [7, 78, 511])
def test_reserved_bytes_can_be_asked_for(offset: int) -> None:
    raw = bytearray(Keyrequest.SIZE)
    assert Keyrequest.reserved_is_zero(bytes(raw))
    raw[offset] = 1
    assert not Keyrequest.reserved_is_zero(bytes(raw))


def test_decoding_keeps_unknown_bits_and_does_not_judge() -> None:
    flags = Secinfo.from_bytes(b"\xff" * 64).flags
    assert int(flags) == (1 << 64) - 1
    assert flags & SecinfoFlags.PR
