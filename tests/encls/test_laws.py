"""Laws that hold for all leaves together, on machines and calls made at random."""

from hypothesis import given, settings
from hypothesis import strategies as st

from softsgx import encls
from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.errors import LeafFailed
from softsgx.arch.faults import Fault
from softsgx.arch.leaves import Encls
from softsgx.arch.secinfo import PageType, SecinfoFlags
from softsgx.machine.memory import EPC_BASE, epc_address
from tests.support import BASE, SIZE, Ring0, make_machine, make_secs, small_enclave

EPC_PAGES = 12

ADDRESSES = st.one_of(
    st.sampled_from([0x1000, 0x2000, 0x3000, 0x5000]),
    st.builds(
        lambda page, low: epc_address(page) + low,
        st.integers(0, EPC_PAGES),
        st.sampled_from([0, 0, 0, 8, 64, 256]),
    ),
    st.integers(0, (1 << 64) - 1),
)


def any_machine(steps: list[int]) -> Ring0:
    """A machine with an enclave in some state of its life."""
    ring0 = small_enclave(make_machine(pages=EPC_PAGES), initialized=bool(steps))
    for step in steps:
        page = 1 + step % 5
        try:
            if step % 3 == 0:
                ring0.eaug(5 + step % 4, (8 + step % 8) * PAGE_SIZE)
            elif step % 3 == 1:
                ring0.emodt(page, PageType.TRIM)
            else:
                ring0.on_page(Encls.EBLOCK, page)
        except (Fault, LeafFailed):
            continue
    if steps and steps[0] % 2:
        ring0.enclave().enter(1)
    return ring0


@given(
    steps=st.lists(st.integers(0, 50), max_size=6),
    leaf=st.sampled_from(sorted(encls.LEAVES)),
    registers=st.tuples(ADDRESSES, ADDRESSES, ADDRESSES),
    pageinfo=st.tuples(ADDRESSES, ADDRESSES, ADDRESSES, ADDRESSES),
    flags=st.integers(0, 0x7FF),
)
@settings(max_examples=300)
def test_a_leaf_that_fails_changes_nothing(
    steps: list[int],
    leaf: Encls,
    registers: tuple[int, int, int],
    pageinfo: tuple[int, int, int, int],
    flags: int,
) -> None:
    ring0 = any_machine(steps)
    names = ("linaddr", "srcpge", "secinfo", "secs")
    ring0.pageinfo(**dict(zip(names, pageinfo, strict=True)))
    ring0.secinfo(SecinfoFlags(flags))
    ring0.source(bytes(make_secs()))
    before = ring0.machine.snapshot()
    try:
        ring0.call(leaf, *registers)
    except (Fault, LeafFailed):
        assert ring0.machine.snapshot() == before


def test_the_addresses_of_these_tests_do_not_collide() -> None:
    assert BASE + SIZE < 1 << 47
    assert EPC_BASE + EPC_PAGES * PAGE_SIZE < 1 << 47
