"""Each layout against its second copy, and there and back again."""

import importlib
import pkgutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import softsgx.arch
from softsgx.arch.layout import Layout

ROOT = Path(__file__).resolve().parents[1]
SECOND_COPY: dict[str, Any] = tomllib.loads(
    (ROOT / "vectors" / "layouts.toml").read_text()
)


def all_layouts() -> dict[str, type[Layout]]:
    for module in pkgutil.iter_modules(softsgx.arch.__path__):
        importlib.import_module(f"softsgx.arch.{module.name}")
    return {
        layout.__name__: layout
        for layout in Layout.__subclasses__()
        if layout.__module__.startswith("softsgx.arch.")
    }


LAYOUTS = all_layouts()
EACH = pytest.mark.parametrize("name", sorted(LAYOUTS))


def test_every_layout_has_its_second_copy() -> None:
    assert set(LAYOUTS) == set(SECOND_COPY)


@EACH
def test_size_and_alignment_are_those_of_the_second_copy(name: str) -> None:
    layout, copy = LAYOUTS[name], SECOND_COPY[name]
    assert (copy["size"], copy.get("align", 1)) == (layout.SIZE, layout.ALIGN)


@EACH
def test_fields_are_those_of_the_second_copy(name: str) -> None:
    ours = {cell.name: [cell.offset, cell.size] for cell in LAYOUTS[name].cells()}
    assert ours == SECOND_COPY[name]["fields"]


@EACH
def test_every_row_has_a_source(name: str) -> None:
    titles = tomllib.loads((ROOT.parent / "docs/spec/sdm.toml").read_text())
    copy = SECOND_COPY[name]
    assert copy["source"] in titles
    later = copy.get("later", {})
    assert set(later) <= set(copy["fields"])
    leaves = {title.split("—")[0] for title in titles}
    assert set(later.values()) <= leaves


@EACH
@given(data=st.data())
def test_bytes_of_a_value_decode_to_it(name: str, data: st.DataObject) -> None:
    layout = LAYOUTS[name]
    dense = st.binary(min_size=layout.SIZE, max_size=layout.SIZE)
    sparse = st.binary(max_size=96).map(lambda part: part.ljust(layout.SIZE, b"\xa5"))
    raw = data.draw(sparse if layout.SIZE > 512 else dense)
    value = layout.from_bytes(raw)
    assert layout.from_bytes(bytes(value)) == value
    for cell in layout.cells():
        if not issubclass(cell.kind, Layout):
            end = cell.offset + cell.size
            assert bytes(value)[cell.offset : end] == raw[cell.offset : end]


@EACH
def test_encoding_leaves_reserved_bytes_zero(name: str) -> None:
    layout = LAYOUTS[name]
    value = layout.from_bytes(b"\xff" * layout.SIZE)
    assert layout.reserved_is_zero(bytes(value))
    covered = bytes(value).count(0xFF)
    assert layout.reserved_is_zero(b"\xff" * layout.SIZE) == (covered == layout.SIZE)


@EACH
def test_the_zero_value_is_zeros(name: str) -> None:
    layout = LAYOUTS[name]
    assert bytes(layout.zero()) == bytes(layout.SIZE)
