"""Enclaves that are built, run, paged and taken apart in any order, under all laws."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.key import Keyname, Keyrequest
from softsgx.arch.leaves import Encls, Enclu
from softsgx.arch.secinfo import PageType, Secinfo, SecinfoFlags
from softsgx.arch.tcs import Tcs
from softsgx.machine.crossing import STAGE_ACTIVE
from softsgx.machine.fields import TCS_STAGE
from tests.model.system import DATA_PAGE, OFFSETS, System
from tests.model.world import (
    AEP,
    BASES,
    SLOTS,
    SSA_PAGE,
    Thread,
)

TARGETINFO, KEYREQUEST, REPORTDATA, REPORT = 0x200, 0x200, 0x400, 0x600
"""Where in their data page threads keep the operands of keys and reports."""

RACE = ("block", "track", "out", "in", "in by it", "read", "write")

_RACED = PageType.REG, PageType.TCS


class Lives(System):
    """And ring 3: three processors in enclaves, and the laws for all of it."""

    def thread(self) -> Thread:
        """Choose a processor."""
        return self.choose.of(self.world.threads)

    def inside(self) -> tuple[Thread, int] | None:
        """Choose a thread that is inside, and its enclave's base; let one in first."""
        threads = [t for t in self.world.threads if t.lp.enclave_mode]
        if not threads:
            self.let_in(self.world.threads[0], Enclu.EENTER)
            threads = [t for t in self.world.threads if t.lp.enclave_mode]
        if not threads:
            return None
        thread = self.choose.of(threads)
        return thread, thread.lp.cr_elrange[0]

    def let_in(self, thread: Thread, leaf: Enclu) -> None:
        """Enter by a TCS that may be entered, or seldom by anything."""
        if thread.lp.enclave_mode and not self.seldom():
            return
        ready = [
            self.machine.epcm[page].enclaveaddress
            for page in self.pages(PageType.TCS, blocked=False, modified=False)
            if self.has_frame(page, leaf)
        ]
        if not ready and not self.seldom():
            return
        target = self.likely(ready, lambda: BASES[0] + self.choose.of(OFFSETS))
        self.world.user(thread, leaf, target, AEP)

    def has_frame(self, page: int, leaf: Enclu) -> bool:
        """Say whether a TCS' enclave runs, and has the frame that a leaf looks at."""
        enclave = self.machine.enclaves[self.machine.epcm[page].enclavesecs]
        tcs = Tcs.from_bytes(bytes(self.machine.epc.page(page)))
        cssa = tcs.cssa - (leaf == Enclu.ERESUME)
        if not 0 <= cssa < tcs.nssa:
            return False
        frame = enclave.secs.baseaddr + tcs.ossa + cssa * PAGE_SIZE
        frame_page = self.world.ptes.get(frame)
        if not enclave.is_initialized() or frame_page is None or tcs.stage:
            return False
        entry = self.machine.epcm[frame_page]
        return entry.enclaveaddress == frame and entry.w and not entry.blocked

    # ring 3

    def enter(self) -> None:
        leaf = self.choose.of((Enclu.EENTER, Enclu.ERESUME))
        self.let_in(self.thread(), leaf)

    def leave(self) -> None:
        by_eexit = self.choose.integer(0, 1)
        (self.world.leave if by_eexit else self.world.interrupt)(self.thread())

    def race(self) -> None:
        """Let threads and a system be after the same page, and then evict it."""
        in_order = self.choose.integer(0, 1)
        order = [*RACE] if in_order else self.choose.shuffled(RACE)
        skipped = {self.choose.of(RACE) for _ in range(self.choose.integer(0, 3))}
        steps = [step for step in order if step not in skipped]
        self.race_by(steps, fresh=bool(self.choose.integer(0, 1)))

    def race_by(self, steps: Sequence[str], *, fresh: bool) -> None:
        """Race by these steps; fresh: with pages that were just loaded, not blocked."""
        secs = self.secs()
        if fresh and secs is not None:
            self.evict(secs, patient=True)
            self.load_all()
        by_type = [pages for kind in _RACED if (pages := self.pages(kind))]
        if not by_type:
            return
        page = self.choose.of(self.choose.of(by_type))
        entry = self.machine.epcm[page]
        where, threads = entry.enclaveaddress, self.world.threads
        deeds: dict[str, Callable[[], object]] = {
            "block": lambda: self.world.on_page(Encls.EBLOCK, page),
            "track": lambda: self.world.on_page(Encls.ETRACK, entry.enclavesecs),
            "out": self.interrupt,
            "in": lambda: self.let_in(threads[1], Enclu.EENTER),
            "in by it": lambda: self.enter_anew(threads[2], where),
            "read": lambda: self.world.access(threads[1], where),
            "write": lambda: self.world.access(threads[1], where, b"raced"),
        }
        for step in steps:
            deeds[step]()
        self.world.ewb(page, *self.slot())

    def enter_anew(self, thread: Thread, tcs: int) -> None:
        """Bring a thread out, if it is inside, and in by a TCS."""
        self.world.interrupt(thread)
        self.world.user(thread, Enclu.EENTER, tcs, AEP)

    def access(self) -> None:
        if found := self.inside():
            thread, base = found
            likely = [DATA_PAGE, DATA_PAGE + 1, SSA_PAGE, SSA_PAGE + 1]
            at = self.likely(
                [page * PAGE_SIZE for page in likely], lambda: self.choose.of(OFFSETS)
            )
            self.world.access(thread, base + at, b"written" * self.choose.integer(0, 1))

    def accept(self) -> None:
        found = self.inside()
        if found is None:
            return
        thread, base = found
        waiting = [
            page
            for page, e in self.world.entries().items()
            if e.pending or e.modified or e.pr
        ]
        entry = self.machine.epcm[self.likely_page(waiting)]
        flags = SecinfoFlags(entry.state & ~0xC0)
        self.operand(thread, base, 0, bytes(Secinfo(flags=flags)))
        data_page = base + DATA_PAGE * PAGE_SIZE
        self.world.user(thread, Enclu.EACCEPT, data_page, entry.enclaveaddress)

    def extend(self) -> None:
        if found := self.inside():
            thread, base = found
            target = self.own_page(thread, pending=False, modified=False)
            flags = SecinfoFlags.of(PageType.REG, self.choose.integer(0, 7))
            self.operand(thread, base, 0, bytes(Secinfo(flags=flags)))
            data_page = base + DATA_PAGE * PAGE_SIZE
            self.world.user(thread, Enclu.EMODPE, data_page, target)

    def own_page(self, thread: Thread, **state: bool) -> int:
        """Choose the address of a page of a thread's enclave in a state, or another."""
        epcm, base = self.machine.epcm, thread.lp.cr_elrange[0]
        own = [
            epcm[page].enclaveaddress
            for page in self.pages(PageType.REG, blocked=False, **state)
            if epcm[page].enclavesecs == thread.lp.cr_active_secs
        ]
        return self.likely(own, lambda: base + self.choose.of(OFFSETS))

    def acceptcopy(self) -> None:
        if found := self.inside():
            thread, base = found
            target = self.own_page(thread, pending=True)
            flags = SecinfoFlags.of(PageType.REG, self.choose.integer(0, 7))
            self.operand(thread, base, 0, bytes(Secinfo(flags=flags)))
            source = base + DATA_PAGE * PAGE_SIZE
            self.world.user(thread, Enclu.EACCEPTCOPY, source, target, source)

    def keys(self) -> None:
        if found := self.inside():
            thread, base = found
            svn = self.choose.integer(0, 9)
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

    def edeccssa(self) -> None:
        if found := self.inside():
            self.world.user(found[0], Enclu.EDECCSSA)

    def operand(self, thread: Thread, base: int, offset: int, raw: bytes) -> None:
        """Let code inside write an operand into its data page, if it can."""
        self.world.access(thread, base + DATA_PAGE * PAGE_SIZE + offset, raw)

    # laws

    def check_laws(self) -> None:
        """Look at everything."""
        self.every_page_has_one_living_owner()
        self.the_slots_hold_what_the_book_says_and_each_version_once()
        self.nobody_can_reach_a_page_that_went()
        self.who_is_inside_is_known_and_has_its_frame()

    def every_page_has_one_living_owner(self) -> None:
        children = dict.fromkeys(self.machine.enclaves, 0)
        entries = self.world.entries()
        assert entries.keys() == self.world.lives.keys()
        for page, entry in entries.items():
            assert entry.valid
            if entry.pt == PageType.SECS:
                enclave, life = self.machine.enclaves[page], self.world.lives[page]
                assert enclave.virtchildcnt == life.virtual >= 0
                assert enclave.enclavecontext == life.context
            elif entry.pt != PageType.VA:
                assert entry.enclavesecs in children, "no valid page without its SECS"
                children[entry.enclavesecs] += 1
            assert entry.pt == PageType.REG or not (entry.r or entry.w or entry.x)
        assert children == {p: e.children for p, e in self.machine.enclaves.items()}

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

    def nobody_can_reach_a_page_that_went(self) -> None:
        for thread in self.world.threads:
            for page, life in thread.tlb.values():
                assert self.world.lives.get(page) is life, "a stale translation"
                assert self.machine.epcm[page].enclavesecs == thread.lp.cr_active_secs

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


_SYSTEM: Sequence[Callable[[Lives], None]] = (
    Lives.ecreate,
    Lives.eadd,
    Lives.eextend,
    Lives.einit,
    Lives.eaug,
    Lives.emodpr,
    Lives.emodt,
    Lives.eblock,
    Lives.etrack,
    Lives.etrackc,
    Lives.block_all,
    Lives.evict_all,
    Lives.eremove,
    Lives.epa,
    Lives.ewb,
    Lives.evict_a_version_array,
    Lives.eld,
    Lives.load_all,
    Lives.heal,
    Lives.heal,
    Lives.heal,
    Lives.debug,
    Lives.erdinfo,
    Lives.interrupt,
    Lives.count_virtual,
    Lives.set_context,
    Lives.change_sides,
    Lives.evict_unseen,
    Lives.race,
)
_USER: Sequence[Callable[[Lives], None]] = (
    Lives.enter,
    Lives.leave,
    Lives.access,
    Lives.accept,
    Lives.extend,
    Lives.acceptcopy,
    Lives.keys,
    Lives.edeccssa,
)

RULES = (*_SYSTEM, *_USER, *_USER, *_USER)
"""What may happen next."""
