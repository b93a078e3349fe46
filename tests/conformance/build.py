"""Compiles the conformance programs, each in the ways of linking that fit it."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.house.tree import ROOT

PROGRAMS = Path(__file__).parent / "programs"
BUILT = ROOT / "build" / "conformance"
FLAGS = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread"]
LINKS = {
    "dynamic": ("gcc", []),
    "static": ("gcc", ["-static"]),
    "static-pie": ("gcc", ["-static-pie"]),
    "musl": ("musl-gcc", ["-static"]),
    "musl-dynamic": ("musl-gcc", []),
}
KERNEL_HEADER = re.compile(r"#include <(?:linux|asm)/")


@dataclass(frozen=True)
class Program:
    """A source file and one way to link it."""

    name: str
    link: str

    @property
    def source(self) -> Path:
        """Where the program is written."""
        return PROGRAMS / f"{self.name}.c"

    def binary(self) -> Path:
        """Compile if the source is newer than what an earlier run made."""
        binary = BUILT / self.link / self.name
        newest = max(
            path.stat().st_mtime for path in (self.source, PROGRAMS / "check.h")
        )
        if binary.exists() and binary.stat().st_mtime > newest:
            return binary
        binary.parent.mkdir(parents=True, exist_ok=True)
        compiler, options = LINKS[self.link]
        fresh = binary.with_name(f"{self.name}.{os.getpid()}")
        command = [compiler, *FLAGS, *options, str(self.source), "-o", str(fresh)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        fresh.replace(binary)
        return binary


def fits(text: str, link: str) -> bool:
    """Say whether a program of this source can be linked this way."""
    if "link: dynamic" in text and link != "dynamic":
        return False
    if "link: glibc" in text and link.startswith("musl"):
        return False
    return not (link.startswith("musl") and KERNEL_HEADER.search(text))


def programs() -> list[Program]:
    """Every program in every way that this machine's compilers can link it."""
    links = [link for link, (compiler, _) in LINKS.items() if shutil.which(compiler)]
    return [
        Program(source.stem, link)
        for source in sorted(PROGRAMS.glob("*.c"))
        for link in links
        if fits(source.read_text(), link)
    ]
