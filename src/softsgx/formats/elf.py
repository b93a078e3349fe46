"""Flat ELF: an enclave as a static ELF file, linked at address 0.

An address is an offset in the enclave, and every PT_LOAD segment is a run of whole
pages.  Two dialects differ in how they say the rest:

* Ours has a note `sgx-flat` of type 1 (`Note` below), and says by two system bits of
  `p_flags` which segments are TCS pages and which are not measured.
* The Linux selftest's has no note: its first segment, readable and writable, is the
  TCS pages; SSA frames have one page; a heap that the file does not show, and that
  nobody measures, follows the last segment.
"""

from collections.abc import Iterator
from itertools import pairwise

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.layout import Layout, at
from softsgx.arch.secinfo import PageType, SecinfoFlags
from softsgx.arch.secs import XFRM_LEGACY, AttributeFlags, Attributes, Miscselect
from softsgx.formats.image import FormatError, Image, Segment

PF_TCS = 0x0010_0000
PF_UNMEASURED = 0x0020_0000
"""Our bits of p_flags, out of those that ELF leaves to systems."""

NOTE_NAME = b"sgx-flat\0"
NOTE_TYPE = 1
NOTE_VERSION = 1

_IDENT = b"\x7fELF\x02\x01\x01"
_MACHINE_X86_64 = 62
_PT_LOAD, _PT_NOTE = 1, 4
_PF_X, _PF_W, _PF_R = 1, 2, 4
_MAX_END = 1 << 47


# fmt: off
class Header(Layout, size=64):
    """The file's header: Elf64_Ehdr."""

    e_ident:     bytes = at( 0, 16)
    e_type:      int   = at(16,  2)
    e_machine:   int   = at(18,  2)
    e_entry:     int   = at(24,  8)
    e_phoff:     int   = at(32,  8)
    e_phentsize: int   = at(54,  2)
    e_phnum:     int   = at(56,  2)


class ProgramHeader(Layout, size=56):
    """A segment: Elf64_Phdr."""

    p_type:   int = at( 0, 4)
    p_flags:  int = at( 4, 4)
    p_offset: int = at( 8, 8)
    p_vaddr:  int = at(16, 8)
    p_filesz: int = at(32, 8)
    p_memsz:  int = at(40, 8)


class NoteHeader(Layout, size=12):
    """A note's head, before name and contents: Elf64_Nhdr."""

    n_namesz: int = at(0, 4)
    n_descsz: int = at(4, 4)
    n_type:   int = at(8, 4)


class Note(Layout, size=40):
    """The contents of our note; a size of 0 asks for the smallest that holds all."""

    version:      int        = at( 0,  4)
    ssaframesize: int        = at( 4,  4)
    size:         int        = at( 8,  8)
    attributes:   Attributes = at(16, 16)
    miscselect:   Miscselect = at(32,  4)
# fmt: on


SELFTEST_NOTE = Note(
    version=NOTE_VERSION,
    ssaframesize=1,
    size=0,
    attributes=Attributes(flags=AttributeFlags.MODE64BIT, xfrm=XFRM_LEGACY),
    miscselect=Miscselect(0),
)
"""What the selftest's loader takes for granted."""


def is_elf(raw: bytes) -> bool:
    """Say whether *raw* begins as a 64-bit little-endian ELF file."""
    return raw.startswith(_IDENT)


def read_flat(raw: bytes, heap: int = 0) -> Image:
    """Return the image in a flat ELF file, followed by *heap* unmeasured bytes.

    FormatError says in one line why the file is no such enclave.
    """
    headers = _program_headers(raw)
    loads = [header for header in headers if header.p_type == _PT_LOAD]
    if not loads:
        raise FormatError("no segment to load")
    note = _find_note(raw, headers)
    if note is None:
        note = SELFTEST_NOTE
        loads[0] = _selftest_tcs(loads[0])
    segments = [_segment(raw, load) for load in loads]
    end = max(segment.offset + segment.size for segment in segments)
    if heap:
        segments.append(_heap(end, heap))
    _check_segments(segments)
    return Image(
        segments=tuple(segments),
        size=_elrange_size(note.size, end + heap),
        ssaframesize=note.ssaframesize,
        attributes=note.attributes,
        miscselect=note.miscselect,
    )


def _program_headers(raw: bytes) -> list[ProgramHeader]:
    if not is_elf(raw) or len(raw) < Header.SIZE:
        raise FormatError("not a 64-bit little-endian ELF file")
    header = Header.from_bytes(raw[: Header.SIZE])
    if header.e_machine != _MACHINE_X86_64:
        raise FormatError(f"for machine {header.e_machine}, not x86-64 (62)")
    if header.e_phentsize != ProgramHeader.SIZE:
        raise FormatError(f"program headers of {header.e_phentsize} bytes, not 56")
    table = _part(raw, header.e_phoff, header.e_phnum * ProgramHeader.SIZE, "headers")
    return [
        ProgramHeader.from_bytes(table[start : start + ProgramHeader.SIZE])
        for start in range(0, len(table), ProgramHeader.SIZE)
    ]


def _part(raw: bytes, offset: int, size: int, what: str) -> bytes:
    if offset + size > len(raw):
        raise FormatError(f"{what}: the file ends before byte {offset + size:#x}")
    return raw[offset : offset + size]


def _find_note(raw: bytes, headers: list[ProgramHeader]) -> Note | None:
    for header in headers:
        if header.p_type != _PT_NOTE:
            continue
        for name, kind, desc in _notes(
            _part(raw, header.p_offset, header.p_filesz, "note")
        ):
            if name == NOTE_NAME and kind == NOTE_TYPE:
                return _read_note(desc)
    return None


def _notes(raw: bytes) -> Iterator[tuple[bytes, int, bytes]]:
    start = 0
    while start + NoteHeader.SIZE <= len(raw):
        head = NoteHeader.from_bytes(raw[start : start + NoteHeader.SIZE])
        name_at = start + NoteHeader.SIZE
        desc_at = name_at + _up(head.n_namesz, 4)
        desc = _part(raw, desc_at, head.n_descsz, "note")
        yield raw[name_at : name_at + head.n_namesz], head.n_type, desc
        start = desc_at + _up(head.n_descsz, 4)


def _read_note(desc: bytes) -> Note:
    if len(desc) < Note.SIZE:
        raise FormatError(f"note of {len(desc)} bytes, at least {Note.SIZE} needed")
    note = Note.from_bytes(desc[: Note.SIZE])
    if note.version != NOTE_VERSION:
        raise FormatError(f"note of version {note.version}, only 1 is known")
    if not note.ssaframesize:
        raise FormatError("note with SSAFRAMESIZE 0")
    return note


def _selftest_tcs(header: ProgramHeader) -> ProgramHeader:
    if header.p_flags & 7 != _PF_R | _PF_W:
        raise FormatError(
            "no sgx-flat note, and the first segment is not TCS pages (R and W)"
        )
    fields = {**vars(header), "p_flags": header.p_flags | PF_TCS}
    return ProgramHeader(**fields)


def _segment(raw: bytes, header: ProgramHeader) -> Segment:
    where = f"segment at {header.p_vaddr:#x}"
    if header.p_vaddr % PAGE_SIZE:
        raise FormatError(f"{where} does not start at a page")
    if not header.p_memsz or header.p_filesz > header.p_memsz:
        raise FormatError(f"{where} has no size, or more in the file than in memory")
    if header.p_vaddr + header.p_memsz > _MAX_END:
        raise FormatError(f"{where} ends past 128 TiB")
    return Segment(
        offset=header.p_vaddr,
        size=_up(header.p_memsz, PAGE_SIZE),
        flags=_secinfo_flags(header.p_flags, where),
        data=_part(raw, header.p_offset, header.p_filesz, where),
        measured=not header.p_flags & PF_UNMEASURED,
    )


def _secinfo_flags(p_flags: int, where: str) -> SecinfoFlags:
    if p_flags & PF_TCS:
        return SecinfoFlags.of(PageType.TCS)
    bits = SecinfoFlags(0)
    for p_flag, flag in (
        (_PF_R, SecinfoFlags.R),
        (_PF_W, SecinfoFlags.W),
        (_PF_X, SecinfoFlags.X),
    ):
        if p_flags & p_flag:
            bits |= flag
    if bits & SecinfoFlags.W and not bits & SecinfoFlags.R:
        raise FormatError(f"{where} is writable but not readable")
    return SecinfoFlags.of(PageType.REG, bits)


def _heap(offset: int, size: int) -> Segment:
    if size % PAGE_SIZE:
        raise FormatError(f"heap of {size} bytes is not whole pages")
    flags = SecinfoFlags.of(PageType.REG, SecinfoFlags.R | SecinfoFlags.W)
    return Segment(offset=offset, size=size, flags=flags, data=b"", measured=False)


def _check_segments(segments: list[Segment]) -> None:
    if not any(segment.flags.page_type == PageType.TCS for segment in segments):
        raise FormatError("no TCS page: nowhere to enter")
    ordered = sorted(segments, key=lambda segment: segment.offset)
    for low, high in pairwise(ordered):
        if low.offset + low.size > high.offset:
            raise FormatError(
                f"segments at {low.offset:#x} and {high.offset:#x} overlap"
            )


def _elrange_size(wanted: int, end: int) -> int:
    if not wanted:
        return max(PAGE_SIZE, 1 << (end - 1).bit_length())
    if wanted & (wanted - 1):
        raise FormatError(f"enclave size {wanted:#x} is not a power of two")
    if wanted < end:
        raise FormatError(f"enclave size {wanted:#x} is below its end, {end:#x}")
    return wanted


def _up(value: int, unit: int) -> int:
    return -(-value // unit) * unit
