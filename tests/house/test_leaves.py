"""The one shape of a leaf function, and that every leaf is in its table."""

import ast
import importlib
import re
from pathlib import Path

import pytest

from softsgx.arch.leaves import Encls, Enclu, Enclv
from tests.house.tree import SOURCE, Breach, functions, name, report

BANNERS = ["OPERANDS", "CHECKS", "OPERATION", "MEASUREMENT", "EPCM", "RESULT"]
SECTIONS = ["SDM:", "In:", "Faults:", "Errors:"]
BANNER = re.compile(rf"^\s*# ({'|'.join(BANNERS)})\b", re.MULTILINE)
STATE = {"machine", "lp", "processor"}
"""Names of the arguments through which a leaf changes the world."""

ROOMS: dict[str, type[Encls | Enclu | Enclv]] = {
    "encls": Encls,
    "enclu": Enclu,
    "enclv": Enclv,
}
# Leaves whose page of the manual writes before its last check; the reason is there.
WRITES_FIRST = {
    "ewb": "VA_SLOT_OCCUPIED is told after the slot was overwritten and the page freed",
}


def leaf_files() -> list[Path]:
    """Files of the three rooms that are named after a leaf."""
    names = {leaf.name.lower() for leaves in ROOMS.values() for leaf in leaves}
    rooms = [SOURCE / room for room in ROOMS]
    return sorted(p for room in rooms for p in room.glob("*.py") if p.stem in names)


def docstring_breaches(where: str, text: str) -> list[Breach]:
    """One line, then SDM, In, Faults and Errors, in this order."""
    words = ast.get_docstring(ast.parse(text)) or ""
    lines = words.splitlines()
    found = []
    if not lines or not lines[0].endswith("."):
        found.append(Breach(where, 1, "docstring does not open with one line"))
    places = [
        next((i for i, line in enumerate(lines) if line.startswith(s)), None)
        for s in SECTIONS
    ]
    present = [place for place in places if place is not None]
    for section, place in zip(SECTIONS, places, strict=True):
        if place is None:
            found.append(Breach(where, 1, f"docstring has no `{section}`"))
    if present != sorted(present):
        found.append(Breach(where, 1, f"docstring is not in the order {SECTIONS}"))
    if not re.search(r'SDM:\s+"', words):
        found.append(Breach(where, 1, 'docstring cites no title as `SDM: "..."`'))
    return found


def banner_breaches(where: str, text: str) -> list[Breach]:
    """Banners in the manual's order, each at most once, at least two."""
    order = [BANNERS.index(found) for found in BANNER.findall(text)]
    if len(order) < 2:
        return [Breach(where, 1, f"fewer than two banners of {BANNERS}")]
    if order != sorted(set(order)):
        shown = [BANNERS[i] for i in order]
        return [Breach(where, 1, f"banners are {shown}, the order is {BANNERS}")]
    return []


def public_breaches(where: str, text: str, leaf: str) -> list[Breach]:
    """One public function, named after the leaf."""
    public = [
        node.name
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    ]
    if public == [leaf]:
        return []
    return [Breach(where, 1, f"public functions are {public}, not [{leaf!r}]")]


def _root(target: ast.expr) -> str | None:
    """The variable at the left end of `a.b[c].d`; None for a bare name."""
    if not isinstance(target, ast.Attribute | ast.Subscript):
        return None
    node: ast.expr = target
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


def _writes(node: ast.AST) -> bool:
    if isinstance(node, ast.Assign):
        return any(_root(target) in STATE for target in node.targets)
    if isinstance(node, ast.AugAssign):
        return _root(node.target) in STATE
    return False


def _raises(node: ast.AST) -> str | None:
    if isinstance(node, ast.Raise):
        return "raises"
    if isinstance(node, ast.Call):
        called = node.func
        label = called.attr if isinstance(called, ast.Attribute) else ""
        label = called.id if isinstance(called, ast.Name) else label
        if label.lstrip("_").startswith("check_"):
            return f"calls {label}"
    return None


def late_raises(where: str, text: str, leaf: str) -> list[Breach]:
    """Raises and check_ calls that stand after the first write to the machine."""
    found = []
    for function in functions(ast.parse(text)):
        if function.name != leaf:
            continue
        nodes = [n for n in ast.walk(function) if isinstance(n, ast.stmt | ast.Call)]
        writes = [n.lineno for n in nodes if _writes(n)]
        for node in nodes:
            if writes and node.lineno > min(writes) and (what := _raises(node)):
                words = f"{what} after the write on line {min(writes)}"
                found.append(Breach(where, node.lineno, words))
    return found


LEAF_FILES = leaf_files()


@pytest.mark.parametrize("path", LEAF_FILES, ids=lambda p: p.stem)
def test_leaf_has_the_shape(path: Path) -> None:
    where, text = name(path), path.read_text()
    found = docstring_breaches(where, text)
    found += banner_breaches(where, text)
    found += public_breaches(where, text, path.stem)
    if path.stem not in WRITES_FIRST:
        found += late_raises(where, text, path.stem)
    assert not found, report(found)


@pytest.mark.parametrize("room", ROOMS)
def test_every_leaf_is_in_the_table(room: str) -> None:
    table = importlib.import_module(f"softsgx.{room}").LEAVES
    assert set(table) == set(ROOMS[room])
    for leaf, function in table.items():
        assert function.__name__ == leaf.name.lower()
        assert function.__module__ == f"softsgx.{room}.{leaf.name.lower()}"


GOOD = '''"""Adds a page.

SDM: "EADD"
In: RBX, RCX.
Faults: #GP.
Errors: none.
"""

def eadd(machine, lp):
    # OPERANDS
    page = lp.regs.rcx
    # CHECKS
    if page:
        raise Fault
    # EPCM
    machine.epcm[page] = 1
'''


def breaches(text: str) -> list[Breach]:
    """All rules on one leaf's text."""
    found = docstring_breaches("x", text) + banner_breaches("x", text)
    return found + public_breaches("x", text, "eadd") + late_raises("x", text, "eadd")


def test_a_good_leaf_passes() -> None:
    assert breaches(GOOD) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Faults: #GP.\n", ""),
        ("Errors: none.\n", ""),
        ("In: RBX, RCX.\nFaults: #GP.", "Faults: #GP.\nIn: RBX, RCX."),
        ('SDM: "EADD"', "SDM: EADD"),
        ("Adds a page.", "Adds a page"),
        ("# CHECKS", "# RESULT"),
        ("    # OPERANDS\n", "    # EPCM\n"),
        ("def eadd", "def add"),
        ("def eadd", "def more(): pass\ndef eadd"),
        ("machine.epcm[page] = 1\n", "machine.epcm[page] = 1\n    raise Fault\n"),
        ("page = lp.regs.rcx", "lp.regs.rax = 0"),
        ("page = lp.regs.rcx", "machine.count += 1; x = 0"),
        ("machine.epcm[page] = 1\n", "lp.a = 1\n    check_it(page)\n"),
    ],
)
def test_a_leaf_of_another_shape_is_seen(old: str, new: str) -> None:
    assert old in GOOD
    assert breaches(GOOD.replace(old, new))
