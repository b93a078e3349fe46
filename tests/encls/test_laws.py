"""Laws that hold for all leaves together, on machines and calls made at random."""

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

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


PAGE = st.integers(0, EPC_PAGES - 1)
OFFSET = st.integers(0, 7).map(lambda page: page * PAGE_SIZE)


class Lives(RuleBasedStateMachine):
    """Enclaves that live and die in a small EPC, whatever the order of the leaves."""

    @initialize()
    def begin(self) -> None:
        self.ring0 = Ring0(make_machine(pages=EPC_PAGES))
        self.machine = self.ring0.machine
        self.ring0.ecreate(0, make_secs(size=8 * PAGE_SIZE))

    def attempt(self, what: str, *operands: int) -> None:
        try:
            getattr(self.ring0, what)(*operands)
        except (Fault, LeafFailed):
            return

    @rule(page=PAGE)
    def ecreate(self, page: int) -> None:
        self.attempt("ecreate", page)

    @precondition(lambda self: self.machine.enclaves)
    @rule(page=PAGE, offset=OFFSET, data=st.data())
    def eadd(self, page: int, offset: int, data: st.DataObject) -> None:
        secs = data.draw(st.sampled_from(sorted(self.machine.enclaves)))
        flags = SecinfoFlags.of(data.draw(st.sampled_from([1, 2])), 3)
        try:
            self.ring0.eadd(page, offset, flags, secs=secs)
        except (Fault, LeafFailed):
            return

    @precondition(lambda self: self.machine.enclaves)
    @rule(data=st.data())
    def einit(self, data: st.DataObject) -> None:
        secs = data.draw(st.sampled_from(sorted(self.machine.enclaves)))
        try:
            self.ring0.einit(secs=secs)
        except (Fault, LeafFailed):
            return

    @precondition(lambda self: self.machine.enclaves)
    @rule(page=PAGE, offset=OFFSET, data=st.data())
    def eaug(self, page: int, offset: int, data: st.DataObject) -> None:
        secs = data.draw(st.sampled_from(sorted(self.machine.enclaves)))
        self.attempt("eaug", page, offset, secs)

    @rule(page=PAGE, permissions=st.integers(0, 7))
    def emodpr(self, page: int, permissions: int) -> None:
        self.attempt("emodpr", page, permissions)

    @rule(page=PAGE, page_type=st.sampled_from([1, 4]))
    def emodt(self, page: int, page_type: int) -> None:
        self.attempt("emodt", page, page_type)

    @rule(page=PAGE, leaf=st.sampled_from([Encls.EBLOCK, Encls.ETRACK, Encls.EREMOVE]))
    def by_page(self, page: int, leaf: Encls) -> None:
        self.attempt("on_page", leaf, page)

    @invariant()
    def every_page_has_one_living_owner(self) -> None:
        children = dict.fromkeys(self.machine.enclaves, 0)
        for page, entry in self.machine.epcm.contents().items():
            assert entry.valid
            if entry.pt == PageType.SECS:
                assert page in self.machine.enclaves
                continue
            enclave = self.machine.enclaves[entry.enclavesecs]
            assert enclave.contains(entry.enclaveaddress)
            children[entry.enclavesecs] += 1
        assert children == {p: e.children for p, e in self.machine.enclaves.items()}

    @invariant()
    def only_regular_pages_have_permissions(self) -> None:
        for entry in self.machine.epcm.contents().values():
            assert entry.pt == PageType.REG or not (entry.r or entry.w or entry.x)


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)


def test_the_addresses_of_these_tests_do_not_collide() -> None:
    assert BASE + SIZE < 1 << 47
    assert EPC_BASE + EPC_PAGES * PAGE_SIZE < 1 << 47
