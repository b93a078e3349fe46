"""What the house rules look at: the tracked files of this checkout."""

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "softsgx"


@dataclass(frozen=True)
class Breach:
    """One broken rule, as file, line and words."""

    where: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.where}:{self.line}: {self.what}"


@cache
def tracked_files() -> tuple[Path, ...]:
    """Files that git tracks or would add; every file where there is no git."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listing.returncode:
        skip = {".venv", "build", "dist"}
        found = (p for p in ROOT.rglob("*") if not skip & set(p.parts))
    else:
        found = (ROOT / name.decode() for name in listing.stdout.split(b"\0") if name)
    return tuple(sorted(path for path in found if path.is_file()))


def files(*suffixes: str, under: Path = ROOT) -> list[Path]:
    """Tracked files below a folder that end in one of these suffixes."""
    return [p for p in tracked_files() if p.suffix in suffixes and under in p.parents]


def name(path: Path) -> str:
    """Say the path as a person would, from the root of the checkout."""
    return str(path.relative_to(ROOT))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """All functions and methods, nested ones too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def report(breaches: list[Breach]) -> str:
    """Lay out the breaches for pytest, one a line."""
    return "\n".join(["", *map(str, breaches)])
