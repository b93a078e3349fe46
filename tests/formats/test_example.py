"""The example's own description of flat ELF says what ours says."""

import re
from pathlib import Path

import pytest

from softsgx.formats import elf

HELLO = Path(__file__).parents[2] / "examples" / "hello"


def defined(name: str) -> str:
    match = re.search(rf"#define {name} (\S+)", (HELLO / "flat.h").read_text())
    assert match is not None
    return match[1]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FLAT_PF_TCS", elf.PF_TCS),
        ("FLAT_PF_UNMEASURED", elf.PF_UNMEASURED),
        ("FLAT_NOTE_TYPE", elf.NOTE_TYPE),
        ("FLAT_NOTE_VERSION", elf.NOTE_VERSION),
    ],
)
def test_the_numbers_agree(name: str, value: int) -> None:
    assert int(defined(name), 0) == value


def test_the_note_has_the_same_owner_and_size() -> None:
    assert defined("FLAT_NOTE_NAME").strip('"').encode() + b"\0" == elf.NOTE_NAME
    sizes = re.findall(r"sizeof\(struct flat_note\) == (\d+)", _header())
    assert sizes == [str(elf.Note.SIZE)]


def test_the_linker_script_marks_the_tcs() -> None:
    script = (HELLO / "enclave.lds").read_text()
    (flags,) = re.findall(r"tcs\s+PT_LOAD\s+FLAGS\((\w+)\)", script)
    assert int(flags, 0) == elf.PF_TCS | 6


def _header() -> str:
    return (HELLO / "flat.h").read_text()
