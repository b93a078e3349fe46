"""Which system calls about paths may give way to a jump, and which may not."""

import os
import subprocess
from pathlib import Path

import pytest

from softsgx.native.numbers import SHORTCUT, SHORTCUT_SHIFT, SHORTCUT_SIZE
from softsgx.runner.code.shortcuts import shortcuts

CALL = "syscall\ncmp $-4096, %rax\n"
MASK = (1 << SHORTCUT_SHIFT) - 1


def function(name: str, body: str) -> str:
    return (
        f".type {name}, @function\n{name}: .cfi_startproc\n{body}"
        f"ret\n.cfi_endproc\n.size {name}, . - {name}\n"
    )


def taken(folder: Path, *bodies: str, behind: str = "") -> list[tuple[int, int]]:
    """Assemble functions, and return the calls and stubs that are found, rising."""
    source, binary = folder / "calls.S", folder / "calls.so"
    functions = (function(f"f{n}", body) for n, body in enumerate(bodies))
    source.write_text(f".text\n{''.join(functions)}{behind}")
    command = ["gcc", "-shared", "-nostdlib", "-Wl,-z,separate-code"]
    subprocess.run([*command, str(source), "-o", str(binary)], check=True)
    fd = os.open(binary, os.O_RDONLY)
    try:
        found = shortcuts(fd, os.fstat(fd).st_size)
        code = binary.read_bytes()
        assert all(code[place & MASK :][:2] == b"\x0f\x05" for place in found)
    finally:
        os.close(fd)
    assert list(found) == sorted(found)
    assert all(place & SHORTCUT for place in found)
    return [(place & MASK, place >> SHORTCUT_SHIFT & MASK) for place in found]


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


def test_one_that_is_alone_in_its_page_is_not_worth_a_copy_of_it(
    tmp_path: Path,
) -> None:
    assert taken(tmp_path, open_call()) == []


@pytest.mark.parametrize(
    "other",
    [
        pytest.param("mov $0, %eax\n" + CALL, id="not about a path"),
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
        assert shortcuts(fd, 1300) == ()
    finally:
        os.close(fd)
