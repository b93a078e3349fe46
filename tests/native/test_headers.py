"""The header for C: every offset asserted, and what a compiler makes of it."""

import re
import subprocess
from pathlib import Path

import pytest

from softsgx.arch.layout import Layout
from softsgx.native import abi, headers

STRUCTS = (abi.Op, abi.Context, abi.Overlay, abi.Config)
by_name = pytest.mark.parametrize("kind", STRUCTS, ids=lambda kind: kind.__name__)


@by_name
def test_every_field_and_the_size_are_asserted(kind: type[Layout]) -> None:
    text = headers.render()
    name = f"abi_{kind.__name__.lower()}"
    assert f"_Static_assert(sizeof(struct {name}) == {kind.SIZE}," in text
    for cell in kind.cells():
        offset = f"offsetof(struct {name}, {cell.name}) == {cell.offset},"
        assert f"_Static_assert({offset}" in text


def compiles(text: str, folder: Path) -> bool:
    source = folder / "abi.c"
    (folder / "abi.h").write_text(text)
    source.write_text('#include "abi.h"\n')
    command = ["gcc", "-std=c11", "-Wall", "-Werror", "-fsyntax-only", str(source)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_the_compiler_agrees(tmp_path: Path) -> None:
    assert compiles(headers.render(), tmp_path)


@pytest.mark.parametrize("line", ["\tuint64_t xsave;", "\tuint32_t nops;"])
def test_the_compiler_sees_a_field_that_is_lost(tmp_path: Path, line: str) -> None:
    text = headers.render()
    assert text.count(line) == 1
    assert not compiles(text.replace(line, "", 1), tmp_path)


def test_numbers_are_defined_once() -> None:
    names = re.findall(r"^#define (\w+)", headers.render(), re.MULTILINE)
    assert len(names) == len(set(names))
    assert "CALL_NR" in names


@by_name
def test_the_fast_form_of_a_layout_is_the_layout(kind: type[Layout]) -> None:
    offset, packer = abi.packer(kind)
    numbers = list(range(1, len(kind.cells()) + 1))
    values = {cell.name: n for cell, n in zip(kind.cells(), numbers, strict=True)}
    assert (offset, packer.size) == (0, kind.SIZE)
    assert packer.pack(*numbers) == bytes(kind(**values))


def test_the_fast_form_of_an_end_begins_at_its_field() -> None:
    offset, packer = abi.packer(abi.Context, "nops")
    whole, _ = abi.packer(abi.Context)
    raw = bytes(range(256)) + bytes(abi.Context.SIZE - 256)
    context = abi.Context.from_bytes(raw)
    assert whole == 0
    assert packer.unpack(raw[offset:])[:2] == (context.nops, context.more)
