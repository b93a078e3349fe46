"""Flat ELF: an enclave as a static ELF file, linked at address 0.

An address is an offset in the enclave, and every PT_LOAD segment is a run of whole
pages.  Two dialects differ in how they say the rest:

* Ours has a note `sgx-flat` of type 1 (`Note` below), and says by two system bits of
  `p_flags` which segments are TCS pages and which are not measured.
* The Linux selftest's has no note: its first segment, readable and writable, is the
  TCS pages; SSA frames have one page; a heap that the file does not show, and that
  nobody measures, follows the last segment.
"""

from io import BytesIO
from itertools import pairwise

from elftools.common.exceptions import ELFError
from elftools.construct import Array, ConstructError, Container
from elftools.elf.constants import P_FLAGS
from elftools.elf.elffile import ELFFile
from elftools.elf.notes import iter_notes

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
_TYPE_1 = ("NT_GNU_ABI_TAG", "NT_PRSTATUS")
"""What pyelftools calls NOTE_TYPE, whoever owns the note; the second in core files."""
_MAX_END = 1 << 47


# fmt: off
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


def read_flat(raw: bytes, heap: int = 0) -> Image:
    """Return the image in a flat ELF file, followed by *heap* unmeasured bytes.

    FormatError says in one line why the file is no such enclave.
    """
    headers, note = _parse(raw)
    loads = [header for header in headers if header.p_type == "PT_LOAD"]
    if not loads:
        raise FormatError("no segment to load")
    if note is None:
        note = SELFTEST_NOTE
        _mark_selftest_tcs(loads[0])
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


def _parse(raw: bytes) -> tuple[list[Container], Note | None]:
    if not raw.startswith(_IDENT):
        raise FormatError("not a 64-bit little-endian ELF file")
    what = "ELF header"
    try:
        elf = ELFFile(BytesIO(raw))
        headers = _program_headers(raw, elf)
        what = "note"
        return headers, _find_note(raw, elf, headers)
    except (ELFError, ConstructError) as error:
        raise FormatError(f"{what} cannot be read: {error}") from error


def _program_headers(raw: bytes, elf: ELFFile) -> list[Container]:
    if elf["e_machine"] != "EM_X86_64":
        raise FormatError(f"for machine {elf['e_machine']}, not x86-64")
    count, phdr = elf["e_phnum"], elf.structs.Elf_Phdr
    if elf["e_phentsize"] != phdr.sizeof():
        raise FormatError(f"program headers of {elf['e_phentsize']} bytes, not 56")
    table = _part(raw, elf["e_phoff"], count * phdr.sizeof(), "headers")
    # Not elf.iter_segments(): for a PT_DYNAMIC that reads all section headers.
    return list(Array(count, phdr).parse(table))


def _part(raw: bytes, offset: int, size: int, what: str) -> bytes:
    if offset + size > len(raw):
        raise FormatError(f"{what}: the file ends before byte {offset + size:#x}")
    return raw[offset : offset + size]


def _find_note(raw: bytes, elf: ELFFile, headers: list[Container]) -> Note | None:
    for header in headers:
        if header.p_type != "PT_NOTE":
            continue
        until_end = _part(raw, 0, header.p_offset + header.p_filesz, "note")
        for note in iter_notes(elf, header.p_offset, header.p_filesz):
            desc_at = note.n_offset + note.n_size - _up(note.n_descsz, 4)
            desc = _part(until_end, desc_at, note.n_descsz, "note")
            owner = (note.n_name or "").encode().ljust(note.n_namesz, b"\0")
            if owner == NOTE_NAME and note.n_type in _TYPE_1:
                return _read_note(desc)
    return None


def _read_note(desc: bytes) -> Note:
    if len(desc) < Note.SIZE:
        raise FormatError(f"note of {len(desc)} bytes, at least {Note.SIZE} needed")
    note = Note.from_bytes(desc[: Note.SIZE])
    if note.version != NOTE_VERSION:
        raise FormatError(f"note of version {note.version}, only 1 is known")
    if not note.ssaframesize:
        raise FormatError("note with SSAFRAMESIZE 0")
    return note


def _mark_selftest_tcs(header: Container) -> None:
    if header.p_flags & 7 != P_FLAGS.PF_R | P_FLAGS.PF_W:
        raise FormatError(
            "no sgx-flat note, and the first segment is not TCS pages (R and W)"
        )
    header.p_flags |= PF_TCS


def _segment(raw: bytes, header: Container) -> Segment:
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
    for name in "RWX":
        if p_flags & getattr(P_FLAGS, f"PF_{name}"):
            bits |= SecinfoFlags[name]
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
