"""A message that prints two values has a test that pins which is which."""

import ast
import re
from pathlib import Path

from tests.house.tree import ROOT, SOURCE, Breach, files, name, report

LEAST = 6
"""Characters of a message's own words that a test must repeat."""


def _pieces(text: ast.JoinedStr) -> tuple[int, list[str]]:
    values = sum(isinstance(v, ast.FormattedValue) for v in text.values)
    words = [
        v.value
        for v in text.values
        if isinstance(v, ast.Constant) and isinstance(v.value, str)
    ]
    return values, [w.strip() for w in words if len(w.strip()) >= LEAST]


def two_value_messages(where: str, text: str) -> list[tuple[Breach, list[str]]]:
    """Raised f-strings with two values or more, and their longest own words."""
    found = []
    for node in ast.walk(ast.parse(text)):
        if not (isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)):
            continue
        for argument in node.exc.args:
            if isinstance(argument, ast.JoinedStr):
                values, words = _pieces(argument)
                if values >= 2 and words:
                    what = f"no test repeats {words} of this message"
                    found.append((Breach(where, node.lineno, what), words))
    return found


def unpinned(where: str, text: str, tests: str) -> list[Breach]:
    """Messages of two values whose words stand in no test."""
    return [
        breach
        for breach, words in two_value_messages(where, text)
        if not any(word in tests for word in words)
    ]


def _plain(path: Path) -> str:
    # A test may escape the words for pytest.raises(match=...).
    text = path.read_text()
    return text + re.sub(r"\\(.)", r"\1", text)


def test_messages_of_two_values_are_pinned() -> None:
    tests = "\n".join(_plain(p) for p in files(".py", under=ROOT / "tests"))
    found = [
        breach
        for path in files(".py", under=SOURCE)
        for breach in unpinned(name(path), path.read_text(), tests)
    ]
    assert not found, report(found)


def test_the_rule_sees_an_unpinned_message() -> None:
    source = 'raise ValueError(f"expected {a} bytes, got {b}")'
    assert unpinned("x", source, "")
    assert not unpinned(
        "x", source, 'match="expected 1 bytes, got 2"'.replace("1 ", "")
    )
    assert not unpinned("x", 'raise ValueError(f"expected {a} bytes")', "")
