"""SIGSTRUCTs, wherever they lie."""

from pathlib import Path

import pytest

from softsgx.arch.sigstruct import HEADER, HEADER2, Sigstruct
from softsgx.formats.scan import find_sigstructs

SPECIMENS = sorted((Path(__file__).parents[1] / "vectors" / "sigstructs").glob("*.hex"))


def made(mark: int) -> bytes:
    raw = bytearray(Sigstruct.SIZE)
    raw[:16], raw[24:40] = HEADER, HEADER2
    raw[1024] = mark
    return bytes(raw)


def test_each_is_found_with_its_offset() -> None:
    raw = b"\x06" * 7 + made(1) + b"junk" + HEADER + made(2) + b"\0"
    found = [(one.offset, one.sigstruct.isvprodid) for one in find_sigstructs(raw)]
    assert found == [(7, 1), (7 + 1808 + 4 + 16, 2)]


@pytest.mark.parametrize("raw", [b"", HEADER, made(1)[:-1], HEADER + bytes(1792)])
def test_what_is_none_is_not_found(raw: bytes) -> None:
    assert list(find_sigstructs(raw)) == []


def test_real_ones_are_found() -> None:
    assert SPECIMENS, "no specimens"
    for path in SPECIMENS:
        (found,) = find_sigstructs(bytes.fromhex(path.read_text()))
        assert found.offset == 0
