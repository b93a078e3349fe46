"""Enclaves that are built, run, paged and taken apart in any order, under all laws."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.key import Keyname, Keyrequest
from softsgx.arch.leaves import Encls, Enclu
from softsgx.arch.secinfo import PageType, Secinfo, SecinfoFlags
from softsgx.arch.tcs import Tcs
from softsgx.machine.crossing import STAGE_ACTIVE
from softsgx.machine.fields import TCS_STAGE
from tests.model.system import DATA_PAGE, OFFSET, PAGE, System
from tests.model.world import (
    AEP,
    BASES,
    PROCESSORS,
    SLOTS,
    SSA_PAGE,
    Thread,
)

THREAD = st.integers(0, PROCESSORS - 1)

TARGETINFO, KEYREQUEST, REPORTDATA, REPORT = 0x200, 0x200, 0x400, 0x600
"""Where in their data page threads keep the operands of keys and reports."""

RACE = ["block", "track", "out", "in", "in by it", "read", "write"]

_RACED = PageType.REG, PageType.TCS

steps = 0
"""Rules that were run in this process."""


class Lives(System):
    """And ring 3: three processors in enclaves, and the laws for all of it."""

    def inside(self, data: st.DataObject) -> tuple[Thread, int] | None:
        """Return a thread that is inside, and its enclave's base; let one in first."""
        threads = [t for t in self.world.threads if t.lp.enclave_mode]
        if not threads:
            self.let_in(data, self.world.threads[0], Enclu.EENTER)
            threads = [t for t in self.world.threads if t.lp.enclave_mode]
        if not threads:
            return None
        thread = data.draw(st.sampled_from(threads))
        return thread, thread.lp.cr_elrange[0]

    def let_in(self, data: st.DataObject, thread: Thread, leaf: Enclu) -> None:
        """Enter by a TCS that may be entered, or seldom by anything."""
        ready = [
            self.machine.epcm[page].enclaveaddress
            for page in self.pages(PageType.TCS, blocked=False, modified=False)
            if self.has_frame(page)
        ]
        target = self.of(data, ready, OFFSET.map(lambda offset: BASES[0] + offset))
        self.world.user(thread, leaf, target, AEP)

    def has_frame(self, page: int) -> bool:
        """Say whether a TCS' enclave runs, and has a page for its next frame."""
        enclave = self.machine.enclaves[self.machine.epcm[page].enclavesecs]
        tcs = Tcs.from_bytes(bytes(self.machine.epc.page(page)))
        frame = enclave.secs.baseaddr + tcs.ossa + tcs.cssa * PAGE_SIZE
        frame_page = self.world.ptes.get(frame)
        if not enclave.is_initialized() or frame_page is None or tcs.stage:
            return False
        entry = self.machine.epcm[frame_page]
        return entry.enclaveaddress == frame and entry.w and not entry.blocked

    # ring 3

    @rule(
        data=st.data(),
        number=THREAD,
        leaf=st.sampled_from([Enclu.EENTER, Enclu.EENTER, Enclu.ERESUME]),
    )
    def enter(self, data: st.DataObject, number: int, leaf: Enclu) -> None:
        self.let_in(data, self.world.threads[number], leaf)

    @rule(number=THREAD, by_eexit=st.booleans())
    def leave(self, number: int, *, by_eexit: bool) -> None:
        thread = self.world.threads[number]
        (self.world.leave if by_eexit else self.world.interrupt)(thread)

    @rule()
    def interrupt(self) -> None:
        """Do what a system does after ETRACK."""
        self.interrupt_all()

    @rule(
        data=st.data(),
        skipped=st.sets(st.sampled_from(RACE), max_size=3),
        order=st.one_of(st.just(RACE), st.permutations(RACE)),
        fresh=st.booleans(),
    )
    def race(
        self,
        data: st.DataObject,
        skipped: set[str],
        order: Sequence[str],
        *,
        fresh: bool,
    ) -> None:
        """Let threads and a system be after the same page, and then evict it.

        Fresh: with pages that are not blocked, since they were just loaded.
        """
        if fresh and self.machine.enclaves:
            self.evict(data, self.secs_of(data), patient=True)
            self.load_all(0)
        by_type = [pages for kind in _RACED if (pages := self.pages(kind))]
        if not by_type:
            return
        page = data.draw(st.sampled_from(data.draw(st.sampled_from(by_type))))
        entry = self.machine.epcm[page]
        where, threads = entry.enclaveaddress, self.world.threads
        deeds: dict[str, Callable[[], object]] = {
            "block": lambda: self.on_page(Encls.EBLOCK, page),
            "track": lambda: self.on_page(Encls.ETRACK, entry.enclavesecs),
            "out": self.interrupt_all,
            "in": lambda: self.let_in(data, threads[1], Enclu.EENTER),
            "in by it": lambda: self.enter_anew(threads[2], where),
            "read": lambda: self.world.access(threads[1], where),
            "write": lambda: self.world.access(threads[1], where, b"raced"),
        }
        for step in order:
            if step not in skipped:
                deeds[step]()
        self.world.ewb(page, *self.slot(data))

    def enter_anew(self, thread: Thread, tcs: int) -> None:
        """Bring a thread out, if it is inside, and in by a TCS."""
        self.world.interrupt(thread)
        self.world.user(thread, Enclu.EENTER, tcs, AEP)

    @rule(data=st.data(), offset=OFFSET, write=st.booleans())
    def access(self, data: st.DataObject, offset: int, *, write: bool) -> None:
        if found := self.inside(data):
            thread, base = found
            likely = [DATA_PAGE, DATA_PAGE + 1, SSA_PAGE, SSA_PAGE + 1]
            at = self.of(data, [page * PAGE_SIZE for page in likely], st.just(offset))
            self.world.access(thread, base + at, b"written" * write)

    @rule(
        data=st.data(),
        leaf=st.sampled_from([Enclu.EACCEPT, Enclu.EACCEPT, Enclu.EMODPE]),
        permissions=st.integers(0, 7),
    )
    def accept(self, data: st.DataObject, leaf: Enclu, permissions: int) -> None:
        found = self.inside(data)
        if found is None:
            return
        thread, base = found
        waiting = [
            page
            for page in self.pages()
            if (e := self.machine.epcm[page]).pending or e.modified or e.pr
        ]
        page = self.of(data, waiting, PAGE)
        entry = self.machine.epcm[page]
        flags = SecinfoFlags(entry.state & ~0xC0)
        if leaf == Enclu.EMODPE:
            flags = SecinfoFlags.of(PageType.REG, permissions)
        self.operand(thread, base, 0, bytes(Secinfo(flags=flags)))
        data_page = base + DATA_PAGE * PAGE_SIZE
        self.world.user(thread, leaf, data_page, entry.enclaveaddress)

    @rule(data=st.data(), offset=OFFSET, permissions=st.integers(0, 7))
    def acceptcopy(self, data: st.DataObject, offset: int, permissions: int) -> None:
        if found := self.inside(data):
            thread, base = found
            flags = SecinfoFlags.of(PageType.REG, permissions)
            self.operand(thread, base, 0, bytes(Secinfo(flags=flags)))
            data_page = base + DATA_PAGE * PAGE_SIZE
            self.world.user(
                thread, Enclu.EACCEPTCOPY, data_page, base + offset, data_page
            )

    @rule(data=st.data(), svn=st.integers(0, 9))
    def keys(self, data: st.DataObject, svn: int) -> None:
        if found := self.inside(data):
            thread, base = found
            request = replace(Keyrequest.zero(), keyname=Keyname.SEAL_KEY, isvsvn=svn)
            page = base + DATA_PAGE * PAGE_SIZE
            self.operand(thread, base, KEYREQUEST, bytes(request))
            self.world.user(thread, Enclu.EGETKEY, page + KEYREQUEST, page + REPORT)
            self.operand(thread, base, TARGETINFO, bytes(512))
            self.world.user(
                thread,
                Enclu.EREPORT,
                page + TARGETINFO,
                page + REPORTDATA,
                page + REPORT,
            )

    @rule(data=st.data())
    def edeccssa(self, data: st.DataObject) -> None:
        if found := self.inside(data):
            self.world.user(found[0], Enclu.EDECCSSA)

    def operand(self, thread: Thread, base: int, offset: int, raw: bytes) -> None:
        """Let code inside write an operand into its data page, if it can."""
        self.world.access(thread, base + DATA_PAGE * PAGE_SIZE + offset, raw)

    # laws

    @invariant()
    def counted(self) -> None:
        global steps  # noqa: PLW0603 -- for whoever runs very many of them
        steps += 1

    @invariant()
    def every_page_has_one_living_owner(self) -> None:
        children = dict.fromkeys(self.machine.enclaves, 0)
        entries = self.machine.epcm.contents()
        assert entries.keys() == self.world.lives.keys()
        for page, entry in entries.items():
            assert entry.valid
            if entry.pt == PageType.SECS:
                assert page in self.machine.enclaves
            elif entry.pt != PageType.VA:
                assert entry.enclavesecs in children, "no valid page without its SECS"
                children[entry.enclavesecs] += 1
            assert entry.pt == PageType.REG or not (entry.r or entry.w or entry.x)
        assert children == {p: e.children for p, e in self.machine.enclaves.items()}

    @invariant()
    def the_slots_hold_what_the_book_says_and_each_version_once(self) -> None:
        versions = []
        for page, slots in self.world.slots.items():
            raw = memoryview(self.machine.epc.page(page)).cast("Q")
            assert not any(raw[SLOTS:])
            for version, image in zip(raw[:SLOTS].tolist(), slots, strict=True):
                assert bool(version) == (image is not None)
                versions.append(version)
        used = [version for version in versions if version]
        assert len(used) == len(set(used))

    @invariant()
    def nobody_can_reach_a_page_that_went(self) -> None:
        for thread in self.world.threads:
            for page, life in thread.tlb.values():
                assert self.world.lives.get(page) is life, "a stale translation"
                assert self.machine.epcm[page].enclavesecs == thread.lp.cr_active_secs

    @invariant()
    def who_is_inside_is_known_and_has_its_frame(self) -> None:
        inside: dict[int, set[int]] = {page: set() for page in self.machine.enclaves}
        for thread in self.world.threads:
            lp = thread.lp
            if lp.enclave_mode:
                inside[lp.cr_active_secs].add(lp.id)
                tcs = self.machine.epc.page(lp.cr_tcs_pa)
                assert TCS_STAGE.read(tcs) == STAGE_ACTIVE
                for page in (lp.cr_tcs_pa, lp.cr_gpr_pa, *lp.cr_xsave_page):
                    entry = self.machine.epcm[page]
                    assert entry.valid
                    assert entry.enclavesecs == lp.cr_active_secs
        known = {p: set(e.inside) for p, e in self.machine.enclaves.items()}
        assert inside == known
