import hashlib
import struct
from contextlib import suppress
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from softsgx.arch.secinfo import PageType
from softsgx.formats.elf import (
    NOTE_NAME,
    PF_TCS,
    PF_UNMEASURED,
    Note,
    read_flat,
)
from softsgx.formats.elf import SELFTEST_NOTE as PLAIN_NOTE
from softsgx.formats.image import FormatError, measure_image

PAGE = 4096
R, W, X = 4, 2, 1


@dataclass(frozen=True)
class Load:
    """A segment to put into a file."""

    address: int
    flags: int
    data: bytes
    memsz: int = 0


TCS = Load(0, R | W | PF_TCS, b"\1" * PAGE)
TEXT = Load(PAGE, R | X, b"\x90" * 100)


def note_segment(note: Note) -> bytes:
    head = struct.pack("<III", len(NOTE_NAME), Note.SIZE, 1)
    return head + NOTE_NAME.ljust(12, b"\0") + bytes(note)


def elf(*loads: Load, note: Note | None = PLAIN_NOTE) -> bytes:
    parts = [(1, load.flags, load.address, load.data, load.memsz) for load in loads]
    if note is not None:
        parts.append((4, R, 0, note_segment(note), 0))
    offset = 64 + 56 * len(parts)
    table, body = b"", b""
    for kind, flags, address, data, memsz in parts:
        size = memsz or len(data)
        table += struct.pack(
            "<IIQQQQQQ", kind, flags, offset + len(body), address, 0, len(data), size, 0
        )
        body += data
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = ident + struct.pack(
        "<HHIQQQIHHHHHH", 2, 62, 1, 0, 64, 0, 0, 64, 56, len(parts), 0, 0, 0
    )
    return header + table + body


def naive_mrenclave(
    size: int, pages: list[tuple[int, int, bytes | None]], frame: int = 1
) -> bytes:
    """MRENCLAVE as SGX books print it; a page without data is not measured."""
    hashed = hashlib.sha256()
    hashed.update(b"ECREATE\0" + struct.pack("<IQ44x", frame, size))
    for offset, flags, data in pages:
        hashed.update(b"EADD\0\0\0\0" + struct.pack("<QQ40x", offset, flags))
        for at in range(0, PAGE, 256) if data is not None else ():
            assert data is not None
            hashed.update(b"EEXTEND\0" + struct.pack("<Q48x", offset + at))
            hashed.update(data[at : at + 256])
    return hashed.digest()


def test_permissions_and_types_come_from_the_program_headers() -> None:
    image = read_flat(elf(TCS, TEXT, Load(2 * PAGE, R | W, b"", 5000)))
    tcs, text, data = image.segments
    assert tcs.flags.page_type == PageType.TCS
    assert int(tcs.flags) == 0x100
    assert int(text.flags) == 0x205
    assert int(data.flags) == 0x203
    assert (data.offset, data.size, data.data) == (2 * PAGE, 2 * PAGE, b"")
    assert image.size == 4 * PAGE


def test_mrenclave_is_that_of_the_manual() -> None:
    heap = Load(2 * PAGE, R | W | PF_UNMEASURED, b"", 2 * PAGE)
    image = read_flat(elf(TCS, TEXT, heap))
    assert measure_image(image) == naive_mrenclave(
        4 * PAGE,
        [
            (0, 0x100, TCS.data),
            (PAGE, 0x205, TEXT.data.ljust(PAGE, b"\0")),
            (2 * PAGE, 0x203, None),
            (3 * PAGE, 0x203, None),
        ],
    )


def test_zeros_after_the_data_are_measured() -> None:
    data = Load(PAGE, R | W, b"\7" * 5000, 100 * PAGE)
    image = read_flat(elf(TCS, data))
    contents = data.data.ljust(100 * PAGE, b"\0")
    pages: list[tuple[int, int, bytes | None]] = [(0, 0x100, TCS.data)]
    pages += [
        (PAGE + at, 0x203, contents[at : at + PAGE])
        for at in range(0, 100 * PAGE, PAGE)
    ]
    assert measure_image(image) == naive_mrenclave(128 * PAGE, pages)


def test_the_note_sets_size_and_frame() -> None:
    note = replace(PLAIN_NOTE, size=1 << 20, ssaframesize=2)
    image = read_flat(elf(TCS, note=note))
    assert (image.size, image.ssaframesize) == (1 << 20, 2)


def test_without_a_note_the_first_segment_is_the_tcs() -> None:
    image = read_flat(elf(replace(TCS, flags=R | W), TEXT, note=None), heap=PAGE)
    tcs, _, heap = image.segments
    assert tcs.flags.page_type == PageType.TCS
    assert (heap.offset, heap.size, heap.measured) == (2 * PAGE, PAGE, False)
    assert image.size == 4 * PAGE


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "not a 64-bit"),
        (b"\x7fELF\x01\x01\x01" + bytes(60), "not a 64-bit"),
        (elf(), "no segment"),
        (elf(TEXT), "no TCS page"),
        (elf(TEXT, note=None), "no sgx-flat note"),
        (elf(replace(TCS, address=5)), "does not start at a page"),
        (elf(TCS, replace(TEXT, address=0)), "0x0 and 0x0 overlap"),
        (elf(TCS, replace(TEXT, flags=W)), "writable but not readable"),
        (elf(TCS, replace(TEXT, memsz=1)), "more in the file than in memory"),
        (elf(TCS, replace(TEXT, address=1 << 47)), "ends past 128 TiB"),
        (elf(TCS, note=replace(PLAIN_NOTE, size=5)), "0x5 is not a power of two"),
        (
            elf(TCS, TEXT, note=replace(PLAIN_NOTE, size=PAGE)),
            "enclave size 0x1000 is below its end, 0x2000",
        ),
        (elf(TCS, note=replace(PLAIN_NOTE, version=2)), "version 2, only 1"),
        (elf(TCS, note=replace(PLAIN_NOTE, ssaframesize=0)), "SSAFRAMESIZE 0"),
        (elf(TCS)[:-1], "note: the file ends before byte 0x10f0"),
        (elf(TCS)[:100], "headers: the file ends before byte 0xb0"),
        (elf(TCS)[:40], "ELF header cannot be read: "),
        (
            elf(TCS).replace(NOTE_NAME.ljust(12, b"\0"), b"x" * 12),
            "note cannot be read: ",
        ),
    ],
)
def test_what_is_wrong_is_named(raw: bytes, message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read_flat(raw)


def test_a_heap_is_whole_pages() -> None:
    with pytest.raises(FormatError, match="heap of 5 bytes"):
        read_flat(elf(TCS), heap=5)


@given(st.integers(0, 399), st.integers(0, 255))
def test_no_byte_of_a_file_brings_the_reader_down(at: int, value: int) -> None:
    raw = bytearray(elf(TCS, TEXT))
    raw[at % len(raw)] = value
    with suppress(FormatError):
        read_flat(bytes(raw))


@given(
    st.integers(0, 1 << 14),
    st.lists(st.integers(-8 * 400, 8 * 400 - 1), max_size=4),
)
def test_no_cut_and_no_flipped_bits_bring_the_reader_down(
    length: int, bits: list[int]
) -> None:
    raw = bytearray(elf(TCS, TEXT))
    for bit in bits:
        raw[bit // 8] ^= 1 << bit % 8
    with suppress(FormatError):
        read_flat(bytes(raw[:length]))
