"""Code in enclaves of which some pages are out of the EPC."""

from softsgx.driver.encl import Encl
from softsgx.runner.code.enclave_code import EnclaveCode
from softsgx.runner.code.host_code import INT3
from tests.driver.fakes import BASE, PAGE
from tests.driver.paged import evict as evict_pages
from tests.runner.test_enclave_code import (
    CODE,
    CPUID,
    PATCHED,
    Bench,
    R,
    X,
    make_bench,
)


def paged_bench() -> Bench:
    bench = make_bench()
    driver = bench.world.driver
    bench.code = EnclaveCode(bench.world.machine.epc, driver.resident, cpuid=True)
    driver.drain()
    return bench


def evict(bench: Bench, *indices: int) -> None:
    assert evict_pages(bench.world.driver, bench.encl, *indices) == len(indices)


BEHIND = BASE + 2 * PAGE
JUMP = b"\x0f\x84\0\0\0\0\xc3"
"""je to behind it; ret.  0x0f and zeros would be SLDT, which is forbidden."""


def straddle(bench: Bench, code: bytes, before: int = 1) -> None:
    """Lay code into pages 1 and 2; page 1 jumps there at its start, and has a CPUID."""
    start = PAGE - before
    jump = b"\xe9" + (start - 5).to_bytes(4, "little")
    bench.page(1)[: 5 + len(CODE)] = jump + CODE
    bench.page(1)[start:] = code[:before]
    bench.page(2)[: len(code) - before] = code[before:]


def test_what_is_out_of_the_epc_is_no_code_of_zeros() -> None:
    bench = paged_bench()
    straddle(bench, JUMP)
    evict(bench, 2)
    full = EnclaveCode(
        bench.world.machine.epc,
        lambda encl, at: None if at == BEHIND else encl.page(at),
        cpuid=True,
    )
    bench.code = full
    bench.run()
    assert bench.bytes(1, PAGE)[7] == INT3
    assert bench.bytes(1, PAGE)[-1] == JUMP[0]


def test_a_page_that_was_led_to_comes_back_to_be_judged() -> None:
    bench = paged_bench()
    bench.page(2)[: len(CODE)] = CODE
    bench.page(1)[: 5 + len(CODE)] = b"\xe9" + (PAGE - 5).to_bytes(4, "little") + CODE
    bench.run(2)
    bench.code.written(bench.encl, BEHIND, BASE)
    bench.code.fetched(bench.encl, BEHIND + len(CODE), BEHIND + len(CODE))
    evict(bench, 2)
    bench.run(1)
    assert bench.bytes(2) == PATCHED


def test_bytes_in_two_pages_of_which_one_is_out_are_known_before_they_run() -> None:
    bench = paged_bench()
    straddle(bench, CPUID + b"\xc3")
    evict(bench, 2)
    assert bench.native(R | X) == [R, R, R | X]
    bench.run()
    assert bench.bytes(1, PAGE)[-1] == INT3


def test_a_page_that_is_out_may_have_the_bytes() -> None:
    bench = paged_bench()
    evict(bench, 2)
    assert bench.native(R | X) == [R, R, R | X]
    bench.run(2)
    assert bench.native(R | X) == [R, R | X, R | X]


def test_an_instruction_is_judged_again_when_its_second_page_is_here() -> None:
    bench = paged_bench()
    straddle(bench, b"\x66" + CPUID + b"\xc3")
    evict(bench, 2)
    bench.run()
    assert bench.bytes(1, PAGE)[-1] == 0x66
    assert bench.world.driver.resident(bench.encl, BEHIND)
    bench.code.fetched(bench.encl, BEHIND, BEHIND - 1)
    assert bench.bytes(1, PAGE)[-1] == INT3


def test_a_call_from_a_page_that_is_out_leads_to_it() -> None:
    bench = paged_bench()
    bench.page(2)[:5] = b"\xc3\x0f\x00\xc0\xc3"  # ret; sldt %eax; ret
    bench.page(3)[:6] = (
        b"\xe8" + (-PAGE - 4).to_bytes(4, "little", signed=True) + b"\xc3"
    )
    evict(bench, 3)
    bench.run(2)
    assert bench.bytes(2, 3) == b"\xc3\xcc\x00"


def test_what_cannot_come_just_now_keeps_its_breakpoints_until_it_does() -> None:
    bench = paged_bench()
    driver, slow = bench.world.driver, set[Encl]()
    bench.code = EnclaveCode(
        bench.world.machine.epc,
        lambda encl, at: None if encl in slow else driver.resident(encl, at),
        cpuid=True,
    )
    bench.run(1)
    evict(bench, 1)
    slow.add(bench.encl)
    bench.native(R)
    slow.clear()
    assert driver.resident(bench.encl, BASE + PAGE)
    assert bench.bytes() == PATCHED
    bench.native(R)
    assert bench.bytes() == CODE
