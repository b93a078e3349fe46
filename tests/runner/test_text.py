"""CPUIDs in a program's code are found; their two bytes elsewhere are not taken."""

import os
import struct
import subprocess
import tracemalloc
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from softsgx.runner.code import text
from softsgx.runner.code.host_code import TextScanner
from softsgx.runner.code.text import CPUID

SOURCE = r"""
#include <cpuid.h>
#include <stdint.h>

/* The two bytes in an immediate, in a displacement and in data among the code. */
__asm__(".text\n.type lies, @function\n"
	"lies: .cfi_startproc\n"
	"mov $0x00a20f00, %ecx\n"
	"mov 0xa20f(%rdi), %eax\n"
	"lea 0x0fa20f(%rip), %rdx\n"
	"movabs $0xa20fa20fa20fa20f, %rax\n"
	"ret\n.cfi_endproc\n.size lies, . - lies\n");
extern int lies(void *);

__attribute__((noinline)) unsigned truth(unsigned leaf)
{
	unsigned a, b, c, d;

	__cpuid_count(leaf, 0, a, b, c, d);
	return a + b + c + d;
}

int main(int argc, char **argv)
{
	return argc > 5 ? lies(argv) : (int)truth(7);
}
"""


@cache
def built(folder: Path, *options: str) -> Path:
    source = folder / "cpuid.c"
    source.write_text(SOURCE)
    binary = folder / "-".join(["cpuid", *options])
    command = ["gcc", "-O1", "-g", *options, str(source), "-o", str(binary)]
    subprocess.run(command, check=True)
    return binary


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("text")


def scan(path: Path) -> tuple[int, ...]:
    return TextScanner().sites(str(path))


def true_sites(binary: Path) -> set[int]:
    """Ask the disassembler, by the symbol of the one function that has a CPUID."""
    listing = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", "--disassemble=truth", str(binary)],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    lines = [line for line in listing.splitlines() if line.split()[1:] == ["cpuid"]]
    addresses = [int(line.split(":")[0], 16) for line in lines]
    assert addresses
    segments = subprocess.run(
        ["readelf", "-lW", str(binary)], capture_output=True, text=True, check=True
    ).stdout
    loads = [line.split()[1:6] for line in segments.splitlines() if " LOAD" in line]
    return {
        address - int(virtual, 16) + int(offset, 16)
        for address in addresses
        for offset, virtual, _, size, _ in loads
        if int(virtual, 16) <= address < int(virtual, 16) + int(size, 16)
    }


@pytest.mark.parametrize("options", [(), ("-no-pie",), ("-static",)], ids=str)
def test_the_instruction_is_found_and_its_bytes_elsewhere_are_not(
    folder: Path, options: tuple[str, ...]
) -> None:
    binary = built(folder, *options)
    found = set(scan(binary))
    raw = binary.read_bytes()
    lies = raw.find(bytes.fromhex("b9000fa200"))
    assert lies > 0
    assert true_sites(binary) <= found
    assert not [site for site in found if lies <= site < lies + 32]
    assert all(raw[site : site + 2] == CPUID for site in found)


def test_a_stripped_program_is_as_good(folder: Path, tmp_path: Path) -> None:
    binary = built(folder)
    stripped = tmp_path / "stripped"
    subprocess.run(["strip", "-o", str(stripped), str(binary)], check=True)
    assert scan(stripped) == scan(binary)


def test_a_file_is_looked_through_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scanner = TextScanner()
    binary = built(folder)
    first = scanner.sites(str(binary))
    monkeypatch.setattr(text, "scan", lambda *_: ())
    assert scanner.sites(str(binary)) == first
    assert TextScanner().sites(str(binary)) == ()


def test_what_is_no_elf_has_none(tmp_path: Path) -> None:
    for raw in (b"", b"\x7fELF", b"#!/bin/sh\n", CPUID * 100, b"\x7fELF\x01" * 40):
        path = tmp_path / "file"
        path.write_bytes(raw)
        assert scan(path) == ()


def test_every_length_of_a_cut_file_is_looked_through(
    folder: Path, tmp_path: Path
) -> None:
    raw = built(folder).read_bytes()
    path = tmp_path / "cut"
    for length in (*range(0, 1000, 7), *range(1000, len(raw), 999)):
        path.write_bytes(raw[:length])
        scan(path)


@settings(
    max_examples=200,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.integers(16, 63), st.integers(64, 1000)),
            st.sampled_from([b"\xff" * 8, b"\xff" * 4, b"\0" * 8, b"\x7f" * 8, b"\1"]),
        ),
        min_size=1,
        max_size=6,
    )
)
def test_no_header_breaks_us(
    folder: Path, tmp_path: Path, changes: list[tuple[int, bytes]]
) -> None:
    raw = bytearray(built(folder).read_bytes())
    for at, bad in changes:
        raw[at : at + len(bad)] = bad
    path = tmp_path / "bad"
    path.write_bytes(raw)
    scan(path)


def endless(path: Path, size: int, filling: bytes) -> Path:
    """Write an ELF with one executable segment of that size, sparse behind."""
    head = bytearray(64)
    head[:5] = b"\x7fELF\x02"
    struct.pack_into("<Q", head, 32, 64)
    struct.pack_into("<HH", head, 54, 56, 1)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, size, size, 4096)
    path.write_bytes(bytes(head) + segment + filling)
    os.truncate(path, size)
    return path


def test_a_file_without_end_is_given_up_on(tmp_path: Path) -> None:
    assert scan(endless(tmp_path / "sparse", 1 << 40, b"")) == ()
    scan(endless(tmp_path / "full", 1 << 22, CPUID * (1 << 20)))


def many_times(path: Path, kind: str) -> Path:
    """Write an ELF of a mebibyte that says the same of itself again and again."""
    size = 1 << 20
    head = bytearray(64)
    head[:5] = b"\x7fELF\x02"
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, size, size, 4096)
    symbol = struct.pack("<IBBHQQ", 0, 2, 0, 0, 1, 1)
    section = struct.pack("<IIQQQQ", 0, 2, 0, 0, 1 << 15, len(symbol) * 2000)
    segments, sections = (4, 0) if kind == "segments" else (1, 300)
    struct.pack_into("<QQ", head, 32, 64, 1024)
    struct.pack_into("<HH", head, 54, 56, segments)
    struct.pack_into("<HH", head, 58, 64, sections)
    raw = bytearray(CPUID * (size // 2))
    raw[:64] = head
    raw[64 : 64 + 56 * segments] = segment * segments
    raw[1024 : 1024 + 64 * sections] = section.ljust(64, b"\0") * sections
    raw[1 << 15 : (1 << 15) + len(symbol) * 2000] = symbol * 2000
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("kind", ["segments", "sections"])
def test_what_a_file_repeats_takes_no_memory(tmp_path: Path, kind: str) -> None:
    path = many_times(tmp_path / kind, kind)
    text.decoder()
    tracemalloc.start()
    try:
        scan(path)
        assert tracemalloc.get_traced_memory()[1] < 24 << 20
    finally:
        tracemalloc.stop()


def test_what_is_no_regular_file_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe")
    opened: list[int] = []
    real = os.open

    def spy(path: str, flags: int) -> int:
        opened.append(flags)
        return real(path, flags)

    monkeypatch.setattr(os, "open", spy)
    assert scan(tmp_path / "pipe") == ()
    assert opened
    assert all(flags & os.O_PATH for flags in opened)
