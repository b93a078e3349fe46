"""Which calls about paths and CPUIDs may give way to a jump, and which may not."""

import os
import subprocess
from pathlib import Path

import pytest

from softsgx.native.numbers import (
    SHORTCUT,
    SHORTCUT_SHIFT,
    SHORTCUT_SIZE,
    SHORTCUT_STUB_SHIFT,
)
from softsgx.runner.code.shortcuts import shortcuts
from softsgx.runner.code.text import scan

CALL = "syscall\ncmp $-4096, %rax\n"
MASK = (1 << SHORTCUT_SHIFT) - 1
SYSCALL, CPUID = b"\x0f\x05", b"\x0f\xa2"


def function(name: str, body: str) -> str:
    return (
        f".type {name}, @function\n{name}: .cfi_startproc\n{body}"
        f"ret\n.cfi_endproc\n.size {name}, . - {name}\n"
    )


def places(folder: Path, *bodies: str, behind: str = "") -> tuple[int, ...]:
    """Assemble functions, and return what is found in the library, rising."""
    source, binary = folder / "calls.S", folder / "calls.so"
    functions = (function(f"f{n}", body) for n, body in enumerate(bodies))
    source.write_text(f".text\n{''.join(functions)}{behind}")
    command = ["gcc", "-shared", "-nostdlib", "-Wl,-z,separate-code"]
    subprocess.run([*command, str(source), "-o", str(binary)], check=True)
    fd = os.open(binary, os.O_RDONLY)
    try:
        size = os.fstat(fd).st_size
        found = shortcuts(fd, size, scan(fd, size))
    finally:
        os.close(fd)
    code = binary.read_bytes()
    assert all(code[place & MASK :][:2] in (SYSCALL, CPUID) for place in found)
    assert list(found) == sorted(found)
    assert all(place & SHORTCUT for place in found)
    return found


def taken(folder: Path, *bodies: str, behind: str = "") -> list[tuple[int, int]]:
    """Return the calls and stubs that are found."""
    found = places(folder, *bodies, behind=behind)
    return [(place & MASK, place >> SHORTCUT_STUB_SHIFT & MASK) for place in found]


def span(place: int) -> int:
    return place >> SHORTCUT_SHIFT & 15


def open_call(tail: str = CALL) -> str:
    return f"mov $257, %eax\n{tail}"


def test_calls_of_one_page_are_taken_and_their_stubs_lie_behind_the_code(
    tmp_path: Path,
) -> None:
    access = "mov $21, %eax\nsyscall\ncmp $-4096, %eax\n"
    found = taken(tmp_path, open_call(), access)
    (first, stub), (second, next_stub) = found
    assert first < second < stub
    assert next_stub == stub + SHORTCUT_SIZE
    assert (next_stub + SHORTCUT_SIZE) // 4096 == first // 4096


@pytest.mark.parametrize("number", [2, 4, 6, 13, 21, 257, 262, 269, 332, 437, 439])
def test_calls_that_would_trap_often_are_taken(tmp_path: Path, number: int) -> None:
    assert len(taken(tmp_path, f"mov ${number}, %eax\n{CALL}")) == 1


@pytest.mark.parametrize(
    "other",
    [
        pytest.param("mov $0, %eax\n" + CALL, id="a call that does not trap"),
        pytest.param("mov $257, %eax\nsyscall\nnop\n", id="nothing to replace"),
        pytest.param(
            "test %edi, %edi\njne 1f\nmov $257, %eax\nsyscall\n1: cmp $-4096, %rax\n",
            id="a jump between the two",
        ),
        pytest.param("jmp *%rdx\n" + open_call(), id="jumps nobody knows"),
        pytest.param(".byte 0x48, 0xb8\n" + open_call(), id="inside another"),
    ],
)
def test_others_trap(tmp_path: Path, other: str) -> None:
    assert len(taken(tmp_path, open_call(), other, open_call())) == 2


def test_without_room_behind_the_code_there_is_none(tmp_path: Path) -> None:
    full = ".balign 4096, 0xcc\n"
    assert taken(tmp_path, open_call(), open_call(), behind=full) == []


def test_what_is_no_elf_has_none(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_bytes(b"\xb8\x01\x01\0\0\x0f\x05\x48\x3d\0\xf0\xff\xff" * 100)
    fd = os.open(path, os.O_RDONLY)
    try:
        assert shortcuts(fd, 1300, ()) == ()
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("behind", "bytes_that_give_way"),
    [
        ("mov %eax, %r8d\n", 5),
        ("mov %eax, %edx\nand $31, %edx\n", 7),
        ("cmp $0xbe, %edi\nje 1f\n1: nop\n", 8),
        ("mov %edx, f0(%rip)\n", 8),
        ("mov f0(%rip), %ecx\nmov %eax, (%rdi)\n", 8),
        ("cmpl $12, f0(%rip)\njle 1f\n1: nop\n", 9),
    ],
)
def test_a_cpuid_gives_way_with_what_touches_registers(
    tmp_path: Path, behind: str, bytes_that_give_way: int
) -> None:
    cpuid = f"mov $7, %eax\ncpuid\n{behind}"
    place, *calls = places(tmp_path, cpuid, open_call(), open_call())
    assert span(place) == bytes_that_give_way
    assert [span(call) for call in calls] == [0, 0]


@pytest.mark.parametrize(
    "behind",
    [
        pytest.param("mov %eax, (%rdi)\nnop\n", id="memory may fault"),
        pytest.param("test %ebx, %ebx\njz 1f\n1: nop\n", id="a jump is relative"),
        pytest.param("mov %eax, %edx\nmov f0(%rip), %eax\n", id="so is RIP"),
        pytest.param("mov f0(%rip), %rax\n", id="only one form of it moves"),
        pytest.param("lea f0(%rip), %eax\n", id="an address"),
        pytest.param("mov %eax, %edx\nret\n", id="the function ends"),
        pytest.param("1: cmp $1, %edi\njne 1b\n", id="a jump between the two"),
        pytest.param("mov %eax, %edx\ncpuid\n", id="another"),
    ],
)
def test_other_cpuids_trap(tmp_path: Path, behind: str) -> None:
    assert places(tmp_path, f"mov $7, %eax\ncpuid\n{behind}") == ()
