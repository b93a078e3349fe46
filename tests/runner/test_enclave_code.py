"""Breakpoints in enclaves: over what runs, gone where it is written or looked at."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from softsgx.driver.encl import Encl
from softsgx.driver.mapping import Extent
from softsgx.native.abi import Trap
from softsgx.runner.code import enclave_code
from softsgx.runner.code.enclave_code import MOST_SWAPS, EnclaveCode
from softsgx.runner.code.host_code import INT3
from tests.driver.fakes import BASE, PAGE, RWX, World

R, W, X = 1, 2, 4
CPUID = b"\x0f\xa2"
CODE = b"\x31\xc0" + CPUID + b"\x89\x07\xc3"
"""xor %eax, %eax; cpuid; mov %eax, (%rdi); ret"""
RET = 0xC3
SITE = BASE + PAGE + 2
FOLLOW = SITE + 2
A, B = 11, 12


@dataclass
class Bench:
    world: World
    code: EnclaveCode

    @property
    def encl(self) -> Encl:
        return self.world.encl

    def page(self, index: int) -> memoryview:
        page = self.encl.page(BASE + index * PAGE)
        assert page is not None
        return self.world.machine.epc.page(page.epc_page)

    def bytes(self, index: int = 1, size: int = len(CODE)) -> bytes:
        return bytes(self.page(index)[:size])

    def native(self, prot: int, first: int = 1, count: int = 3) -> list[int]:
        """Return what the pages may natively, where mapping and EPCM grant *prot*."""
        start, end = BASE + first * PAGE, BASE + (first + count) * PAGE
        out: list[int] = []
        for extent in self.code.runnable([Extent(start, end, prot, self.encl)]):
            assert extent.encl is self.encl
            assert extent.start == start + len(out) * PAGE
            out += [extent.prot] * ((extent.end - extent.start) // PAGE)
        return out

    def run(self, index: int = 1) -> None:
        at = BASE + index * PAGE
        self.code.fetched(self.encl, at, at)


@pytest.fixture
def bench() -> Bench:
    return make_bench()


def make_bench() -> Bench:
    world = World()
    world.build(4, secinfo=0x207)
    world.map(1, 4, RWX)
    bench = Bench(world, EnclaveCode(world.machine.epc, cpuid=True))
    for index in (1, 2, 3):
        bench.page(index)[:] = bytes(PAGE)
    bench.page(1)[: len(CODE)] = CODE
    return bench


PATCHED = CODE.replace(CPUID, b"\xcc\xa2")
LIFTED = CODE.replace(b"\x89\x07", b"\xcc\x07").replace(b"\x31\xc0", b"\xcc\xc0")


def test_only_a_page_with_the_bytes_waits_until_it_runs(bench: Bench) -> None:
    assert bench.native(R | X) == [R, R | X, R | X]
    bench.run()
    assert bench.native(R | X) == [R | X, R | X, R | X]
    assert bench.bytes() == PATCHED


def test_the_bytes_may_lie_in_two_pages(bench: Bench) -> None:
    bench.page(1)[-1:], bench.page(2)[:1] = CPUID[:1], CPUID[1:]
    bench.page(1)[: len(CODE)] = bytes(len(CODE))
    assert bench.native(R | X) == [R, R | X, R | X]
    assert bench.native(R | X, count=1) == [R]


def test_a_page_runs_or_is_written(bench: Bench) -> None:
    assert bench.native(RWX) == [R | W] * 3
    bench.run()
    assert bench.native(RWX) == [R | X, R | W, R | W]
    assert bench.bytes() == PATCHED
    bench.code.written(bench.encl, BASE + PAGE + 8, BASE + 2 * PAGE)
    assert bench.native(RWX) == [R | W] * 3
    assert bench.bytes() == CODE


def test_a_page_that_writes_to_itself_is_let_be(bench: Bench) -> None:
    bench.run()
    bench.code.written(bench.encl, BASE + PAGE + 8, BASE + PAGE + 100)
    assert bench.native(RWX) == [RWX, R | W, R | W]
    assert bench.bytes() == PATCHED


def test_a_page_that_changes_too_often_is_let_be(bench: Bench) -> None:
    for _ in range(MOST_SWAPS):
        bench.run()
        bench.code.written(bench.encl, BASE + PAGE, BASE + 2 * PAGE)
        assert bench.native(RWX, count=1) == [R | W]
    bench.run()
    bench.code.written(bench.encl, BASE + PAGE, BASE + 2 * PAGE)
    assert bench.native(RWX, count=1) == [RWX]
    assert bench.bytes() == PATCHED


@pytest.mark.parametrize("prot", [0, R, R | W])
def test_what_runs_no_more_is_as_it_was(bench: Bench, prot: int) -> None:
    bench.run()
    assert bench.native(prot) == [prot] * 3
    assert bench.bytes() == CODE
    assert bench.native(R | X) == [R, R | X, R | X]


def test_a_handler_sees_the_instruction_until_its_thread_goes_on(bench: Bench) -> None:
    bench.run()
    for _ in range(3):
        assert bench.code.trap(bench.encl, SITE, A) == Trap.FORBIDDEN
        assert bench.bytes() == LIFTED
        assert bench.code.ends_window(bench.encl, FOLLOW)
        assert bench.code.trap(bench.encl, FOLLOW, A) == Trap.AGAIN
        assert bench.bytes() == PATCHED
        assert not bench.code.ends_window(bench.encl, FOLLOW)


def test_who_resumes_at_it_meets_it_again(bench: Bench) -> None:
    bench.run()
    bench.code.trap(bench.encl, SITE, A)
    bench.code.resumed(bench.encl, SITE)
    assert bench.bytes() == PATCHED
    assert bench.code.trap(bench.encl, FOLLOW, A) == Trap.AGAIN


@pytest.mark.parametrize("place", [SITE - 2, SITE, FOLLOW])
def test_another_thread_waits_for_the_handler(bench: Bench, place: int) -> None:
    bench.run()
    bench.code.trap(bench.encl, SITE, A)
    for _ in range(3):
        assert bench.code.trap(bench.encl, place, B) == Trap.WAIT
        assert bench.bytes() == LIFTED
    bench.code.trap(bench.encl, FOLLOW, A)
    after = Trap.FORBIDDEN if place == SITE else Trap.AGAIN
    assert bench.code.trap(bench.encl, place, B) == after


def test_nobody_waits_for_ever(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.run()
    monkeypatch.setattr(enclave_code, "LONGEST_WINDOW", 0)
    bench.code.trap(bench.encl, SITE, A)
    assert bench.code.trap(bench.encl, FOLLOW, B) == Trap.AGAIN
    assert bench.bytes() == PATCHED


def test_one_cpuid_after_another(bench: Bench) -> None:
    code = b"\x31\xc0" + CPUID + CPUID + b"\xc3"
    bench.page(1)[: len(CODE)] = code
    bench.run()
    assert bench.bytes() == b"\x31\xc0\xcc\xa2\xcc\xa2\xc3"
    assert bench.code.trap(bench.encl, SITE, A) == Trap.FORBIDDEN
    assert bench.bytes() == b"\xcc\xc0\x0f\xa2\xcc\xa2\xc3"
    assert bench.code.trap(bench.encl, FOLLOW, A) == Trap.FORBIDDEN
    assert bench.bytes() == b"\x31\xc0\xcc\xa2\x0f\xa2\xcc"
    assert bench.code.trap(bench.encl, FOLLOW + 2, A) == Trap.AGAIN
    assert bench.bytes() == b"\x31\xc0\xcc\xa2\xcc\xa2\xc3"


def test_the_enclaves_own_breakpoint_is_its_own(bench: Bench) -> None:
    bench.page(1)[: len(CODE)] = b"\x31\xc0" + CPUID + b"\xcc\x07\xc3"
    bench.run()
    assert bench.code.trap(bench.encl, FOLLOW, A) == Trap.FOREIGN
    assert bench.code.trap(bench.encl, SITE, A) == Trap.FORBIDDEN
    assert bench.code.trap(bench.encl, FOLLOW, A) == Trap.FOREIGN
    assert bench.bytes()[2] == INT3


def test_what_another_page_leads_to_is_looked_at_again(bench: Bench) -> None:
    sysenter = b"\x0f\x34\xc3"
    bench.page(2)[0], bench.page(2)[100:103] = RET, sysenter
    bench.run(2)
    assert bytes(bench.page(2)[100:103]) == sysenter
    # The first page, found later, has a direct jump there.
    bench.page(1)[:6] = b"\xe9" + (PAGE + 100 - 5).to_bytes(4, "little") + b"\x90"
    bench.page(1)[20:22] = CPUID
    bench.run(1)
    assert bytes(bench.page(2)[100:103]) == b"\xcc\x34\xc3"
    assert bench.code.trap(bench.encl, BASE + 2 * PAGE + 100, A) == Trap.FORBIDDEN


def test_originals_are_known(bench: Bench) -> None:
    bench.run()
    start = BASE + PAGE
    assert bench.code.original(bench.encl, start, PATCHED) == CODE
    assert bench.code.original(bench.encl, SITE, b"\xcc") == b"\x0f"
    assert bench.code.original(bench.encl, SITE, b"\x42") == b"\x42"
    assert bench.code.original(bench.encl, SITE + 1, b"\xcc") == b"\xcc"
    bench.code.trap(bench.encl, SITE, A)
    assert bench.code.original(bench.encl, start, LIFTED) == CODE
    whole = bytes(3 * PAGE)
    assert bench.code.original(bench.encl, BASE, whole) == whole


def test_what_wrote_over_a_breakpoint_stays(bench: Bench) -> None:
    bench.run()
    bench.page(1)[2] = 0x42
    assert bench.native(R | W)
    assert bench.bytes() == CODE[:2] + b"\x42" + CODE[3:]


def test_where_cpuid_faults_by_itself_nothing_is_done(bench: Bench) -> None:
    code = EnclaveCode(bench.world.machine.epc, cpuid=False)
    bench.code = code
    assert bench.native(RWX) == [RWX] * 3
    bench.run()
    assert bench.native(R | X) == [R | X] * 3
    assert bench.bytes() == CODE


def test_an_enclave_that_is_gone_is_forgotten(bench: Bench) -> None:
    bench.run()
    bench.code.forget(bench.encl)
    assert bench.code.trap(bench.encl, SITE, A) == Trap.FOREIGN


BUSY = b"\x31\xc0" + CPUID + b"\x89\x07" + CPUID + CPUID + b"\x89\x07\xcc\x74\xf4\xc3"
NEAR = st.sampled_from([0, 2, 4, 6, 8, 10, 12])
WHAT = st.sampled_from(["trap"] * 6 + ["fetched", "written", "resumed", "native"])
STEPS = st.lists(st.tuples(WHAT, NEAR, st.integers(0, 2)), min_size=10, max_size=30)


@settings(deadline=None, max_examples=60)
@given(STEPS, st.sampled_from([0, 7, 100, PAGE - 9, PAGE - 3]))
def test_whatever_happens_the_memory_is_known_without_us(
    steps: list[tuple[str, int, int]], at: int
) -> None:
    bench = make_bench()
    memory = bytearray(3 * PAGE)
    memory[at : at + len(BUSY)] = BUSY
    for index in (1, 2, 3):
        bench.page(index)[:] = memory[(index - 1) * PAGE : index * PAGE]
    encl, code, first = bench.encl, bench.code, BASE + PAGE
    code.fetched(encl, first + at, first + at)
    for what, place, other in steps:
        near = first + at + place
        if what == "fetched":
            code.fetched(encl, near, near)
        elif what == "written":
            code.written(encl, near, first + other * PAGE)
        elif what == "trap":
            code.trap(encl, near, other)
        elif what == "resumed":
            code.resumed(encl, near)
        else:
            bench.native((R, R | X, RWX)[other])
        now = b"".join(bytes(bench.page(index)) for index in (1, 2, 3))
        assert code.original(encl, first, now) == memory
    bench.native(R)
    assert b"".join(bytes(bench.page(index)) for index in (1, 2, 3)) == memory


def test_a_copy_of_a_page_has_nothing_of_ours(bench: Bench) -> None:
    bench.run()
    bench.page(3)[:] = bench.page(1)
    bench.code.copied(bench.encl, BASE + PAGE, BASE + 3 * PAGE)
    assert bench.bytes() == PATCHED
    assert bench.bytes(3) == CODE


STATE = b"\x48\x0f\xae\x27\xc3"
"""xsave64 (%rdi); ret"""


def narrow_bench(*, cpuid: bool, is_narrow: bool) -> Bench:
    bench = make_bench()
    bench.code = EnclaveCode(
        bench.world.machine.epc, cpuid=cpuid, is_narrow=lambda _: is_narrow
    )
    bench.page(2)[: len(STATE)] = STATE
    bench.world.driver.drain()
    return bench


@pytest.mark.parametrize("cpuid", [False, True])
def test_state_that_xfrm_does_not_name_is_a_site(*, cpuid: bool) -> None:
    bench = narrow_bench(cpuid=cpuid, is_narrow=True)
    assert bench.native(R | X)[1:] == [R, R | X]
    bench.run(2)
    assert bench.native(R | X)[1:] == [R | X, R | X]
    assert bench.bytes(2, len(STATE)) == STATE.replace(b"\x0f", b"\xf4")
    at = BASE + 2 * PAGE
    assert bench.code.is_site(bench.encl, at + 1, forbidden=False)
    assert not bench.code.is_site(bench.encl, at, forbidden=False)
    assert bench.code.original(bench.encl, at, bench.bytes(2, 5)) == STATE
    bench.run(1)
    assert bench.bytes() == (PATCHED if cpuid else CODE)


def test_an_enclave_with_all_state_has_no_such_sites() -> None:
    bench = narrow_bench(cpuid=True, is_narrow=False)
    bench.run(2)
    assert bench.bytes(2, len(STATE)) == STATE


def test_a_call_from_another_page_leads_to_it() -> None:
    bench = narrow_bench(cpuid=False, is_narrow=True)
    bench.page(2)[: len(STATE) + 1] = b"\xc3" + STATE
    bench.page(3)[:6] = (
        b"\xe8" + (-PAGE - 4).to_bytes(4, "little", signed=True) + b"\xc3"
    )
    bench.run(2)
    assert bench.bytes(2, 3) == b"\xc3\x48\xf4"


def test_only_pages_that_may_run_are_asked_for_calls() -> None:
    bench = narrow_bench(cpuid=False, is_narrow=True)
    bench.page(2)[: len(STATE) + 1] = b"\xc3" + STATE
    bench.page(3)[:6] = (
        b"\xe8" + (-PAGE - 4).to_bytes(4, "little", signed=True) + b"\xc3"
    )
    page = bench.encl.page(BASE + 3 * PAGE)
    assert page is not None
    entry = bench.world.machine.epcm[page.epc_page]
    bench.world.machine.epcm[page.epc_page] = replace(entry, x=False)
    bench.world.driver.drain()
    bench.run(2)
    assert bench.bytes(2, 3) == b"\xc3\x48\x0f"
