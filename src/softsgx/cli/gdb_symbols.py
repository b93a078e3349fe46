"""Symbols of enclaves, for gdb: the file one was built from, and when to load it.

Part of the script that `softsgx debug` has gdb source; runs in gdb's own Python.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

import gdb

from softsgx.cli.gdb_agent import PACKAGE, enclaves, read
from softsgx.native.numbers import AGENT_BASE, VDSO_OFFSET

_MAX_CANDIDATES = 200
_PROBE_BYTES = 64
_EXEC = 1
_CREATE, _ADD_PAGES = 0xA400, 0xA401
_BASEADDR = 8
"""Bytes into a SECS."""


class Symbols:
    """Loads each enclave's ELF file once, where it can be found."""

    def __init__(self, files: list[Path]):
        self._files = files
        self._known: set[tuple[int, int]] = set()
        self._found: dict[int, Path] = {}
        self._vdso = 0

    def look(self) -> None:
        """Load what is new in the program, at a stop."""
        self._load_vdso()
        for enclave in enclaves():
            base = enclave.base
            if self._is_new(base) and enclave.is_debug and base not in self._found:
                self._find(base, base, None)
        self.load()

    def added(self, base: int, source: int, offsets: range) -> None:
        """Find the file that pages come from, which are being added from *source*."""
        self._load_vdso()
        if self._is_new(base):
            self._find(base, source - offsets.start, offsets)

    def load(self) -> None:
        """Load what was found; breakpoints in it need its pages to be there."""
        for base, path in self._found.items():
            self._known.add((gdb.selected_inferior().pid, base))
            gdb.execute(f"add-symbol-file {path} -o {base:#x}", to_string=True)
            print(f"[Enclave at {base:#x}: symbols of {path}]")
        self._found.clear()

    def _is_new(self, base: int) -> bool:
        return (gdb.selected_inferior().pid, base) not in self._known

    def _find(self, base: int, at: int, offsets: range | None) -> None:
        """Find the file whose code is at an address *at* that stands for the base."""
        for path in self._candidates():
            if _is_in(path, at, offsets):
                self._found[base] = path
                return

    def _load_vdso(self) -> None:
        """Let gdb unwind through our __vdso_sgx_enter_enclave."""
        pid = gdb.selected_inferior().pid
        if self._vdso == pid:
            return
        try:
            read(AGENT_BASE + VDSO_OFFSET, 8)
        except gdb.MemoryError:
            return
        self._vdso = pid
        image = PACKAGE / "native" / "vdso.bin"
        where = AGENT_BASE + VDSO_OFFSET
        gdb.execute(f"add-symbol-file {image} -o {where:#x}", to_string=True)

    def _candidates(self) -> Iterator[Path]:
        yield from self._files
        program = gdb.current_progspace().filename
        folders = {Path(program or ".").resolve().parent, Path.cwd()}
        for folder in sorted(folders):
            paths = sorted(folder.iterdir())[:_MAX_CANDIDATES]
            yield from (path for path in paths if _may_be_elf(path))


def _may_be_elf(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return path.is_file() and file.read(4) == b"\x7fELF"
    except OSError:
        return False


def _is_in(path: Path, at: int, offsets: range | None) -> bool:
    """Say whether an ELF file's code is in memory: all of it, or what is at offsets."""
    try:
        text = path.read_bytes()
        where, offset = _code_of(text)
        if offsets is not None and where not in offsets:
            return False
        # The first byte may be one of ours.
        return (
            read(at + where, _PROBE_BYTES)[1:]
            == (text[offset + 1 : offset + _PROBE_BYTES])
        )
    except (OSError, ValueError, struct.error, gdb.MemoryError):
        return False


def _code_of(elf: bytes) -> tuple[int, int]:
    """Return address and file offset of an ELF file's entry, or of its first code."""
    phoff = _words(elf, 32, "Q")
    phentsize, phnum = _words(elf, 54, "H"), _words(elf, 56, "H")
    for at in range(phoff, phoff + phnum * phentsize, phentsize):
        kind, flags, offset, vaddr = struct.unpack_from("<IIQQ", elf, at)
        if kind == 1 and flags & _EXEC:
            return vaddr, offset
    raise ValueError("no code")


def _words(raw: bytes, at: int, form: str) -> int:
    value: int = struct.unpack_from(f"<{form}", raw, at)[0]
    return value


class Building(gdb.Breakpoint):
    """Sees an enclave being built: its base, and the code that goes in."""

    def __init__(self, symbols: Symbols, entry: "Entering"):
        super().__init__("ioctl", internal=True)
        self.silent = True
        self._symbols = symbols
        self._entry = entry
        self._base = 0

    def stop(self) -> bool:
        """Go on, with the symbols of the file that the code is from."""
        request = int(gdb.parse_and_eval("(unsigned int)$rsi")) & 0xFFFF
        argument = int(gdb.parse_and_eval("(unsigned long)$rdx"))
        try:
            if request == _CREATE:
                secs = _words(read(argument, 8), 0, "Q")
                self._base = _words(read(secs + _BASEADDR, 8), 0, "Q")
            elif request == _ADD_PAGES:
                source, offset, length = struct.unpack("<QQQ", read(argument, 24))
                self._symbols.added(self._base, source, range(offset, offset + length))
                self._entry.enabled = True
        except gdb.MemoryError:
            pass  # the call will say so
        return False


class Entering(gdb.Breakpoint):
    """Sees the first entry: now there are pages for the user's breakpoints."""

    def __init__(self, symbols: Symbols) -> None:
        super().__init__("__vdso_sgx_enter_enclave", internal=True)
        self.silent = True
        self._symbols = symbols

    def stop(self) -> bool:
        """Go on, with the symbols of what was built."""
        self.enabled = False
        self._symbols.load()
        return False
