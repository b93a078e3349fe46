"""Compiles the SGX conformance programs and signs the enclaves that they load."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
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


def _newest(*folders: Path) -> float:
    return max(
        path.stat().st_mtime
        for folder in folders
        for path in folder.iterdir()
        if path.suffix in {".c", ".h", ".S", ".lds"}
    )


def _run(*command: str | Path) -> None:
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def enclave(name: str) -> None:
    """Build and sign one enclave, if a source is newer than it."""
    folder = BUILT / "enclave"
    signed = folder / f"{name}.sig"
    sources = (HERE / "enclave", HELLO)
    if signed.exists() and signed.stat().st_mtime > _newest(*sources):
        return
    folder.mkdir(parents=True, exist_ok=True)
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
    sig.replace(signed)


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
        if binary.exists() and binary.stat().st_mtime > _newest(
            self.folder, HERE / "host", HERE / "enclave", HELLO
        ):
            return binary
        binary.parent.mkdir(parents=True, exist_ok=True)
        compiler, options = LINKS[self.link]
        fresh = binary.with_name(f"{self.name}.{os.getpid()}")
        shared = [*LOADER]
        shared += [HERE / "host" / "host.c", HERE / "host" / "own.S"]
        source = self.folder / f"{self.name}.c"
        include = f"-I{HERE / 'host'}"
        _run(compiler, *FLAGS, include, *options, source, *shared, "-o", fresh)
        fresh.replace(binary)
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
