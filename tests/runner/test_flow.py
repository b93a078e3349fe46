"""CPUID is found in code without symbols, and data that looks like it is left alone."""

import hashlib
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from softsgx.arch.addr import PAGE_SIZE
from softsgx.runner.code.flow import MARGIN, SUSPECT, Wanted, called_places, judge
from softsgx.runner.code.text import LONGEST

NOP, RET = b"\x90", b"\xc3"
LEAF_7 = b"\xb8\x07\0\0\0\x31\xc9"
"""mov $7, %eax; xor %ecx, %ecx"""
CPUID = b"\x0f\xa2"
STORE = b"\x89\x07\x89\x5f\x04"
"""mov %eax, (%rdi); mov %ebx, 4(%rdi)"""
LIKE_CPUID = b"\x81\xc1\x0f\xa2\0\0"
"""add $0xa20f, %ecx"""


def page(*pieces: bytes, at: int = 0) -> bytes:
    code = NOP * at + b"".join(pieces)
    return code + NOP * (PAGE_SIZE - len(code))


def found(code: bytes, *entries: int) -> dict[int, int]:
    image = bytes(MARGIN) + code + bytes(MARGIN)
    return sites(image, *(entry + MARGIN for entry in entries))


def sites(image: bytes, *entries: int) -> dict[int, int]:
    end = len(image) - MARGIN
    found = judge(image, (MARGIN, end), entries, lambda at, n: image[at : at + n])
    return {at: site.size for at, site in found.sites.items()}


def test_what_is_reached_is_certain() -> None:
    jump = b"\xeb\x10" + b"\x06" * 16
    assert found(page(jump, CPUID, RET), 0) == {MARGIN + 18: 2}


@pytest.mark.parametrize("branch", [b"\x74", b"\xe3", b"\xe2"])
def test_both_ways_of_a_branch_are_followed(branch: bytes) -> None:
    code = page(branch + b"\x03", CPUID, RET, CPUID, RET)
    assert found(code, 0) == {MARGIN + 2: 2, MARGIN + 5: 2}


def test_a_call_is_followed_and_comes_back() -> None:
    code = page(b"\xe8\x03\0\0\0", CPUID, RET, CPUID, RET)
    assert found(code, 0) == {MARGIN + 5: 2, MARGIN + 8: 2}


def test_a_prefix_belongs_to_it() -> None:
    assert found(page(b"\x66" + CPUID, RET), 0) == {MARGIN: 3}


def test_bytes_inside_an_instruction_are_none() -> None:
    assert found(page(LEAF_7, LIKE_CPUID, STORE, RET), 0) == {}
    assert found(page(LEAF_7, LIKE_CPUID, STORE, RET)) == {}


def test_a_function_that_nothing_leads_to_is_found_by_its_looks() -> None:
    code = page(b"\x55\x48\x89\xe5\x53", LEAF_7, CPUID, STORE, RET, at=1000)
    assert found(code) == {MARGIN + 1012: 2}


@pytest.mark.parametrize("before", [NOP * 7, b"\xb9\x07\0\0\0\x31\xd2"])
def test_without_a_leaf_it_is_data(before: bytes) -> None:
    assert found(page(RET, b"\x06" * 64, before, CPUID, STORE, at=1000)) == {}


def test_without_use_of_the_results_it_is_data() -> None:
    assert found(page(RET, LEAF_7, CPUID, NOP * 5, RET, at=1000)) == {}


def test_code_may_end_with_the_page() -> None:
    code = page(LEAF_7, CPUID, at=PAGE_SIZE - 9)
    assert found(code, PAGE_SIZE - 9) == {MARGIN + PAGE_SIZE - 2: 2}
    half = page(LEAF_7, CPUID[:1], at=PAGE_SIZE - 8)
    image = bytes(MARGIN) + half + CPUID[1:] + STORE + bytes(MARGIN - 6)
    assert sites(image, MARGIN + PAGE_SIZE - 8) == {MARGIN + PAGE_SIZE - 1: 2}


@pytest.mark.parametrize(
    "code",
    [
        *(b"\x0f\x34", b"\x0f\xa1", b"\x0f\xa9", b"\x48\x0f\xb2\x03"),
        *(b"\x0f\x00\xc0", b"\x66\x0f\x00\xc8", b"\x0f\x01\x04\x24"),
        *(b"\x0f\x01\x4d\xf0", b"\x0f\x01\xe0", b"\x0f\x01\xc1", b"\x0f\x01\xd9"),
    ],
)
def test_the_others_count_only_where_they_are_reached(code: bytes) -> None:
    assert SUSPECT[Wanted.UNDEFINED].search(code)
    whole = page(b"\xeb\x01\xc3", LEAF_7, code, STORE, RET)
    assert found(whole, 0) == {MARGIN + 10: len(code)}
    assert found(whole, 2) == {}
    assert found(whole) == {}


@pytest.mark.parametrize("code", [b"\x0f\x01\xd7", b"\x0f\x01\xf9", b"\x0f\xa3\xc0"])
def test_what_an_enclave_has_is_let_be(code: bytes) -> None:
    assert not SUSPECT[Wanted.UNDEFINED].search(code)
    assert found(page(code, RET), 0) == {}


def test_a_switch_is_followed_as_far_as_its_table_goes() -> None:
    # cmp $1, %edi; ja 0x40; lea 0x80(%rip), %rdx; movslq (%rdx,%rdi,4), %rax;
    # add %rdx, %rax; jmp *%rax
    switch = (
        b"\x83\xff\x01\x77\x3b\x48\x8d\x15\x74\0\0\0\x48\x63\x04\xba"
        b"\x48\x01\xd0\xff\xe0"
    )
    code = bytearray(page(switch))
    for case, at in enumerate((0x20, 0x28, 0x30)):
        code[0x80 + 4 * case : 0x84 + 4 * case] = struct.pack("<i", at - 0x80)
        code[at : at + 3] = b"\x0f\x34\xc3"
    assert found(bytes(code), 0) == {MARGIN + 0x20: 2, MARGIN + 0x28: 2}


@pytest.mark.parametrize("entries", [[MARGIN], []])
def test_the_instruction_before_is_known(entries: list[int]) -> None:
    image = bytes(MARGIN) + page(LEAF_7, CPUID, STORE, RET, at=90) + bytes(MARGIN)
    found = judge(image, (MARGIN, MARGIN + PAGE_SIZE), entries, lambda *_: b"")
    assert found.sites == {MARGIN + 97: (2, 2)}


def test_ways_out_of_the_page_are_told() -> None:
    image = bytes(MARGIN) + page(b"\xe8\0\x10\0\0\xc3") + bytes(MARGIN)
    found = judge(image, (MARGIN, MARGIN + PAGE_SIZE), [MARGIN], lambda *_: b"")
    assert found.leaves == {MARGIN + PAGE_SIZE + 5}


def test_random_bytes_are_seldom_taken_for_code() -> None:
    wrong = 0
    for n in range(200):
        data = bytearray(hashlib.shake_128(bytes([n])).digest(PAGE_SIZE))
        for at in range(100, PAGE_SIZE, 400):
            data[at : at + 2] = CPUID
        wrong += len(found(bytes(data)))
    # Only pages that run are judged at all.
    assert wrong < 200


def sites_of(library: Path) -> tuple[set[int], set[int]]:
    """Return where objdump sees CPUID in a library, and where we do, by looks alone."""
    listing = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", library],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    true = {
        int(line.split(":")[0], 16)
        for line in listing.splitlines()
        if line.endswith("\tcpuid") or "\tcpuid " in line
    }
    headers = subprocess.run(
        ["objdump", "-h", library], capture_output=True, text=True, check=True
    ).stdout
    fields = next(line.split() for line in headers.splitlines() if " .text " in line)
    size, address, offset = (int(fields[n], 16) for n in (2, 3, 5))
    text = library.read_bytes()[offset : offset + size]
    image = bytes(MARGIN) + text + bytes(MARGIN)
    seen = sites(image)
    return {at for at in true if address <= at < address + size}, {
        at - MARGIN + address for at in seen
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["ld-linux-x86-64.so.2", "libcrypto.so.3", "libc.so.6"]
)
def test_libraries_are_read_right(name: str) -> None:
    library = Path("/lib/x86_64-linux-gnu") / name
    if not library.exists():
        pytest.skip(f"no {name} here")
    true, seen = sites_of(library)
    assert seen <= true
    assert len(seen) >= 0.6 * len(true)


MASK = b"\xb8\xff\xff\xff\xff\xba\xff\xff\xff\xff"
"""mov $-1, %eax; mov $-1, %edx"""
XSAVE64 = b"\x48\x0f\xae\x27"
XGETBV = b"\x0f\x01\xd0"
STATE = [
    *(b"\x0f\xae\x27", b"\x0f\xae\x6f\x40", b"\x0f\xae\x37", b"\x0f\xc7\x27"),
    *(XSAVE64, b"\x65\x48\x0f\xae\x2f", XGETBV),
]


def state(
    code: bytes, *entries: int, called: Callable[[], list[int]] = list
) -> set[int]:
    image = bytes(MARGIN) + code + bytes(MARGIN)
    found = judge(
        image,
        (MARGIN, MARGIN + PAGE_SIZE),
        [entry + MARGIN for entry in entries],
        lambda at, n: image[at : at + n],
        lambda: [place + MARGIN for place in called()],
        Wanted.STATE,
    )
    assert not found.sites
    return {at - MARGIN for at in found.state}


@pytest.mark.parametrize("code", STATE, ids=bytes.hex)
def test_state_that_is_reached_is_found_behind_its_prefixes(code: bytes) -> None:
    assert SUSPECT[Wanted.STATE].search(code)
    assert state(page(code, RET), 0) == {code.index(0x0F)}
    assert state(page(code, RET)) == set()


@pytest.mark.parametrize("code", STATE[:-1], ids=bytes.hex)
def test_state_that_gets_a_mask_is_likely(code: bytes) -> None:
    at = 4 * LONGEST + len(MASK) + code.index(0x0F)
    assert state(page(MASK, code, RET, at=4 * LONGEST)) == {at}
    assert state(page(MASK[:5], code, RET, at=4 * LONGEST)) == set()


def test_xgetbv_that_gets_its_number_and_is_used_is_likely() -> None:
    zero = b"\x31\xc9"
    begin = 4 * LONGEST
    assert state(page(zero, XGETBV, STORE, RET, at=begin)) == {begin + 2}
    assert state(page(zero, XGETBV, RET, at=begin)) == set()
    assert state(page(XGETBV, STORE, RET, at=begin)) == set()


@pytest.mark.parametrize(
    "code", [b"\x66\x0f\xae\x37", b"\xf3\x0f\xae\x27", b"\x0f\xae\xe8"], ids=bytes.hex
)
def test_other_instructions_of_the_group_are_none(code: bytes) -> None:
    assert state(page(code, RET), 0) == set()


def test_a_call_from_elsewhere_leads_there_if_nothing_else_does() -> None:
    code = page(RET, b"\x06", XSAVE64, RET)
    assert state(code, 0) == set()
    assert state(code, 0, called=lambda: [2]) == {3}
    # What is known to be another instruction is no instruction of its own.
    inside = page(b"\xb8" + XGETBV + b"\0", RET)
    assert state(inside, 0, called=lambda: [1]) == set()


def test_nobody_asks_for_calls_where_all_is_known() -> None:
    def called() -> list[int]:
        raise AssertionError

    assert state(page(XSAVE64, RET), 0, called=called) == {1}


def test_calls_are_found_by_their_bytes() -> None:
    code = NOP * 10 + b"\xe8" + struct.pack("<i", 85) + b"\xe9" + struct.pack("<i", -20)
    assert list(called_places(code + bytes(100), 0, 1 << 20)) == [100, 0]
    assert list(called_places(code + bytes(100), 1, 100)) == []


def test_cpuid_is_no_state_and_the_other_way_round() -> None:
    assert found(page(XGETBV, CPUID, RET), 0) == {MARGIN + 3: 2}
    assert state(page(XGETBV, CPUID, RET), 0) == {0}
