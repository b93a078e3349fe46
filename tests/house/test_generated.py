"""What is generated, or said twice, between Python and C says one thing."""

import re
from collections.abc import Mapping

from softsgx.native import headers, numbers
from tests.house.tree import ROOT

NATIVE = ROOT / "native"
SYMBOLS = {
    "AGENT_BASE_ADDR": "AGENT_BASE",
    "AGENT_DATA_OFFSET": "DATA_OFFSET",
    "AGENT_FORK_OFFSET": "FORK_OFFSET",
    "AGENT_VDSO_OFFSET": "VDSO_OFFSET",
}
"""The linker script's word for a constant of `native.abi`."""
DEFINED = re.compile(r"--defsym=(?P<symbol>\w+)=(?P<value>\w+)")


def stale(generated: str, text: str) -> str:
    """Name the first line in which a generated file differs from what it should be."""
    wanted, given = generated.splitlines(), text.splitlines()
    for number, (want, have) in enumerate(zip(wanted, given, strict=False), 1):
        if want != have:
            return f"line {number} is {have!r}, not {want!r}"
    if len(wanted) != len(given):
        return f"{len(given)} lines, not {len(wanted)}"
    return ""


def wrong_symbols(makefile: str, known: Mapping[str, object]) -> list[str]:
    """Linker symbols whose value differs from Python's constant."""
    found = []
    for match in DEFINED.finditer(makefile):
        constant = SYMBOLS.get(match["symbol"], match["symbol"])
        if known.get(constant) != int(match["value"], 0):
            said = known.get(constant)
            found.append(f"{match['symbol']} is {match['value']}, Python says {said}")
    return found


def test_the_generated_header_is_up_to_date() -> None:
    header = NATIVE / "include" / "gen_abi.h"
    assert header.is_file(), "not built yet: make build"
    assert not stale(headers.render(), header.read_text()), "make build"


def test_the_linkers_symbols_are_pythons_constants() -> None:
    assert not wrong_symbols((NATIVE / "Makefile").read_text(), vars(numbers))


def test_a_stale_header_and_a_wrong_symbol_are_seen() -> None:
    assert stale("a\nb\n", "a\nc\n") == "line 2 is 'c', not 'b'"
    assert stale("a\nb\n", "a\n") == "1 lines, not 2"
    assert not stale("a\n", "a\n")
    assert wrong_symbols("ld --defsym=BASE=0x10", {"BASE": 17})
    assert wrong_symbols("ld --defsym=BASE=0x10", {})
    assert not wrong_symbols("ld --defsym=BASE=0x10", {"BASE": 16})
