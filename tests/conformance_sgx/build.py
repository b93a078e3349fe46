"""Compiles the SGX conformance programs and signs the enclaves that they load."""

import fcntl
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.conformance.run import SOFTSGX
from tests.house.tree import ROOT

HERE = Path(__file__).parent
PROGRAMS = HERE / "programs"
HELLO = ROOT / "examples" / "hello"
BUILT = ROOT / "build" / "conformance-sgx"
ENCLAVES = {
    "3": "XFRM=3",
    "7": "XFRM=7",
    "e7": "XFRM=0xe7",
    "notify": "XFRM=7 ATTRIBUTES=0x404 TCS_FLAGS=2",
    "exinfo": "XFRM=3 MISCSELECT=1",
    "debug": "XFRM=3 ATTRIBUTES=6",
    "provision": "XFRM=3 ATTRIBUTES=0x14",
}
"""The enclaves: with x87 and SSE; also AVX; also AVX-512; and those with an extra."""

LOADER = [HELLO / name for name in ("load.c", "isgx.c", "vdso.c")]
"""Sources of what builds an enclave, on either device."""

SHARED = [*LOADER, HERE / "host" / "host.c", HERE / "host" / "own.S"]
"""Sources that every program has."""

SHARED_FROM = (HERE / "host", HERE / "enclave", HELLO)
SOURCES = {".c", ".h", ".S", ".lds"}
FLAGS = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread"]
CODE = (
    "entry.S",
    "spin.S",
    "forbidden.S",
    "second.S",
    "state_ops.S",
    "enclave.c",
    "state.c",
)
ENCLAVE_FLAGS = [
    *("-std=gnu11", "-O2", "-Wall", "-Wextra", "-Werror", "-ffreestanding", "-fPIE"),
    *("-fvisibility=hidden", "-mgeneral-regs-only", "-fno-stack-protector"),
    *("-fcf-protection=none", "-fno-asynchronous-unwind-tables"),
]
# musl ships no kernel headers; those of the machine fit it too.
_MUSL = ["-idirafter", "/usr/include", "-idirafter", "/usr/include/x86_64-linux-gnu"]
LINKS = {
    "dynamic": ("gcc", []),
    "static": ("gcc", ["-static"]),
    "static-pie": ("gcc", ["-static-pie"]),
    "musl": ("musl-gcc", ["-static", *_MUSL]),
    "musl-dynamic": ("musl-gcc", _MUSL),
}
EVERY_LINK = re.compile(r"^ \* link: all", re.MULTILINE)
IN_BOTH_MODES = frozenset({"dynamic", "static", "static-pie"})
"""The links of which programs run in exact mode too.

How musl starts a program, finds the vDSO and takes signals is the same in either mode.
"""

SMALL_EPC = re.compile(r"^ \* Meant for an EPC of 1 MiB", re.MULTILINE)
"""Has a program run with such an EPC in both modes, with another in normal mode."""


def _newest(*folders: Path) -> float:
    return max(
        path.stat().st_mtime
        for folder in folders
        for path in folder.iterdir()
        if path.suffix in SOURCES
    )


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Let one process at a time make what several processes use."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def is_older(made: Path, than: float) -> bool:
    """Say whether something has to be made, out of sources of a time."""
    return not made.exists() or made.stat().st_mtime <= than


def _run(*command: str | Path) -> None:
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@cache
def enclave(name: str) -> None:
    """Build and sign one enclave, if a source is newer than it."""
    folder = BUILT / "enclave"
    with alone(folder):
        if is_older(folder / f"{name}.sig", _newest(HERE / "enclave", HELLO)):
            _make_enclave(name, folder)


def _make_enclave(name: str, folder: Path) -> None:
    key, mine = folder / "key.pem", f"{name}.{os.getpid()}"
    if not key.exists():
        fresh = folder / f"key.{os.getpid()}"
        _run(SOFTSGX, "sign", "--new-key", fresh)
        fresh.replace(key)
    code = [HERE / "enclave" / name for name in CODE]
    elf, sig = folder / f"{mine}.elf", folder / f"{mine}.sig"
    script = ["-static", "-nostdlib", f"-Wl,-T,{HELLO / 'enclave.lds'}"]
    linker = [*script, "-Wl,--build-id=none", "-Wl,-z,noexecstack", "-no-pie"]
    flags = [*ENCLAVE_FLAGS, *(f"-D{word}" for word in ENCLAVES[name].split())]
    _run("gcc", *flags, *linker, *code, HELLO / "runtime.c", "-o", elf)
    _run(SOFTSGX, "sign", elf, "--key", key, "--out", sig)
    elf.replace(folder / f"{name}.elf")
    sig.replace(folder / f"{name}.sig")


def _compile(link: str, *words: str | Path, out: Path) -> None:
    """Compile and put the result in its place, whole."""
    compiler, options = LINKS[link]
    fresh = out.with_name(f"{out.name}.{os.getpid()}")
    include = f"-I{HERE / 'host'}"
    _run(compiler, *FLAGS, include, *options, *words, "-o", fresh)
    fresh.replace(out)


@cache
def shared(link: str) -> list[Path]:
    """Return the objects that every program of a link has, compiled."""
    folder = BUILT / link / "shared"
    made = {source: folder / f"{source.stem}.o" for source in SHARED}
    newest = _newest(*SHARED_FROM)
    with alone(folder):
        for source, out in made.items():
            if is_older(out, newest):
                _compile(link, "-c", source, out=out)
    return list(made.values())


@dataclass(frozen=True)
class Program:
    """A host program and one way to link it."""

    name: str
    link: str
    folder: Path = PROGRAMS

    def binary(self) -> Path:
        """Compile if a source is newer than what an earlier run made."""
        for name in ENCLAVES:
            enclave(name)
        binary = BUILT / self.link / self.name
        source = self.folder / f"{self.name}.c"
        own = [source, *self.folder.glob("*.h")]
        newest = max(path.stat().st_mtime for path in own)
        if is_older(binary, max(newest, _newest(*SHARED_FROM))):
            _compile(self.link, source, *shared(self.link), out=binary)
        return binary


def programs() -> list[Program]:
    """Every program; those that say so in every way this machine can link them."""
    links = [link for link, (compiler, _) in LINKS.items() if shutil.which(compiler)]
    return [
        Program(source.stem, link)
        for source in sorted(PROGRAMS.glob("*.c"))
        for link in links
        if link == "dynamic" or EVERY_LINK.search(source.read_text())
    ]


def is_for_both_modes(program: Program) -> bool:
    """Say whether a program runs in exact mode as well, with an ordinary EPC."""
    is_small = SMALL_EPC.search((PROGRAMS / f"{program.name}.c").read_text())
    return program.link in IN_BOTH_MODES and not is_small
