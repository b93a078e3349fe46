"""How long a file, a body, a docstring and a C function may be."""

import ast
import re
from pathlib import Path

import pytest

from tests.house.tree import SOURCE, Breach, files, functions, name, report

FILE_LINES = 400
BODY_LINES = 40
LEAF_BODY_LINES = 80
C_FUNCTION_LINES = 60
DOCSTRING_LINES = 3
C_ARGUMENTS = 6


def _body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = function.body
    if ast.get_docstring(function) is not None:
        body = body[1:]
    if not body:
        return 0
    return (body[-1].end_lineno or body[-1].lineno) - body[0].lineno + 1


def long_files(where: str, text: str) -> list[Breach]:
    """A file that is over its budget of lines."""
    lines = len(text.splitlines())
    if lines <= FILE_LINES:
        return []
    return [Breach(where, lines, f"{lines} lines, a file has {FILE_LINES}")]


def long_bodies(where: str, text: str, budget: int) -> list[Breach]:
    """Functions with more body lines than *budget*."""
    return [
        Breach(where, f.lineno, f"{f.name}: body of {_body_lines(f)}, has {budget}")
        for f in functions(ast.parse(text))
        if _body_lines(f) > budget
    ]


def long_docstrings(where: str, text: str) -> list[Breach]:
    """Functions and classes with more docstring lines than they may."""
    nodes = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    found = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, nodes) and (words := ast.get_docstring(node)):
            lines = sum(1 for line in words.splitlines() if line.strip())
            if lines > DOCSTRING_LINES:
                what = f"{node.name}: docstring of {lines}, has {DOCSTRING_LINES}"
                found.append(Breach(where, node.lineno, what))
    return found


C_OPENING = re.compile(r"^\w[^;={}]*\)\s*(?:\n)?\{$", re.MULTILINE)


def long_c_functions(where: str, text: str) -> list[Breach]:
    """C functions over their budget: from a brace at column 0 to the next `}` there."""
    found = []
    for opening in C_OPENING.finditer(text):
        end = text.find("\n}", opening.end())
        lines = text.count("\n", opening.end(), end if end > 0 else len(text))
        line = text.count("\n", 0, opening.start()) + 1
        head = opening.group(0).splitlines()[0]
        if lines > C_FUNCTION_LINES:
            what = f"{head}: {lines} lines, has {C_FUNCTION_LINES}"
            found.append(Breach(where, line, what))
        # Interfaces that others made: a system call, the vDSO's user handler.
        foreign = "syscall6(" in head or "conformance" in where
        if head.count(",") >= C_ARGUMENTS and not foreign:
            found.append(Breach(where, line, f"{head}: over {C_ARGUMENTS} arguments"))
    return found


def _budget(path: Path) -> int:
    leaf = path.parent.name in {"encls", "enclu", "enclv"}
    return LEAF_BODY_LINES if leaf else BODY_LINES


def test_files_keep_their_budget() -> None:
    found = [
        breach
        for path in files(".py", ".c", ".h", ".S")
        for breach in long_files(name(path), path.read_text())
    ]
    assert not found, report(found)


def test_bodies_keep_their_budget() -> None:
    found = [
        breach
        for path in files(".py")
        for breach in long_bodies(name(path), path.read_text(), _budget(path))
    ]
    assert not found, report(found)


def test_docstrings_are_one_to_three_lines() -> None:
    found = [
        breach
        for path in files(".py", under=SOURCE)
        for breach in long_docstrings(name(path), path.read_text())
    ]
    assert not found, report(found)


def test_c_functions_keep_their_budget() -> None:
    found = [
        breach
        for path in files(".c", ".h")
        for breach in long_c_functions(name(path), path.read_text())
    ]
    assert not found, report(found)


def test_the_budgets_see_what_is_too_long() -> None:
    statements = "    pass\n" * (BODY_LINES + 1)
    assert long_files("x", "a\n" * (FILE_LINES + 1))
    assert not long_files("x", "a\n" * FILE_LINES)
    assert long_bodies("x", f"def f():\n{statements}", BODY_LINES)
    assert not long_bodies("x", f"def f():\n    'd'\n{statements[9:]}", BODY_LINES)
    assert long_docstrings("x", 'def f():\n    """a\n\n    b\n    c\n    d\n    """')
    assert not long_docstrings("x", 'def f():\n    """a\n\n    b\n    c\n    """')


@pytest.mark.parametrize("opening", ["static int f(int a)\n{", "int f(int a) {"])
def test_the_budgets_see_a_long_c_function(opening: str) -> None:
    body = "\n\ta();" * C_FUNCTION_LINES
    assert not long_c_functions("x", f"{opening}{body}\n}}\n")
    assert long_c_functions("x", f"{opening}{body}\n\tb();\n}}\n")
    assert long_c_functions(
        "x", "void f(int a, int b, int c, int d, int e, int f, g)\n{\n}"
    )
