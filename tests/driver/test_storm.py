"""Any order of calls, good and bad ones, leaves the driver and the EPCM sound."""

import contextlib

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from softsgx import enclu
from softsgx.arch.faults import Fault
from softsgx.arch.layout import Layout
from softsgx.arch.leaves import Enclu
from softsgx.arch.secinfo import PageType, Secinfo, SecinfoFlags
from softsgx.driver import uapi
from softsgx.driver.driver import IOCTLS
from softsgx.driver.encl import Encl
from softsgx.driver.user_linear import UserLinear
from softsgx.machine.model import Model
from softsgx.machine.processor import Processor
from tests.driver.fakes import (
    ARGS,
    BASE,
    PAGE,
    REG_RW,
    SCRATCH,
    SIZE,
    TCS,
    FakeMemory,
    World,
)
from tests.driver.invariants import assert_sound

EPC_PAGES = 24
PAGES = 8
"""Pages of an enclave that the storm is about: few, so that things meet."""

which_encl = st.integers(0, 1)
indices = st.integers(0, PAGES)
counts = st.integers(0, 5)
words = st.one_of(
    st.sampled_from([0, 1, PAGE, SIZE, BASE, SCRATCH, ARGS, (1 << 64) - PAGE]),
    st.integers(0, (1 << 64) - 1),
)
edmm = st.sampled_from(
    [
        (uapi.SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS, "permissions"),
        (uapi.SGX_IOC_ENCLAVE_MODIFY_TYPES, "page_type"),
        (uapi.SGX_IOC_ENCLAVE_REMOVE_PAGES, ""),
    ]
)
STRUCTS: dict[int, type[Layout]] = {
    uapi.SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS: (uapi.sgx_enclave_restrict_permissions),
    uapi.SGX_IOC_ENCLAVE_MODIFY_TYPES: uapi.sgx_enclave_modify_types,
    uapi.SGX_IOC_ENCLAVE_REMOVE_PAGES: uapi.sgx_enclave_remove_pages,
}


class Storm(RuleBasedStateMachine):
    """Two enclaves of one task, on an EPC that is too small for them."""

    @initialize()
    def begin(self) -> None:
        self.world = World(Model(), EPC_PAGES)
        self.driver, self.mm = self.world.driver, self.world.mm
        self.memories = [FakeMemory() for _ in range(2)]
        self.encls = [self.driver.open(memory) for memory in self.memories]
        self.others = [self.mm]

    def use(self, which: int) -> Encl:
        self.world.encl = self.encls[which]
        self.world.memory = self.memories[which]
        return self.world.encl

    @rule(which=which_encl, flags=st.sampled_from([0, 2, 1 << 40]))
    def create(self, which: int, flags: int) -> None:
        self.use(which)
        with contextlib.suppress(OSError):
            self.world.create(flags)

    @rule(
        which=which_encl,
        index=indices,
        count=counts,
        kind=st.sampled_from([REG_RW, TCS, 0x207, 0x2, 0x600]),
        measure=st.booleans(),
    )
    def add(
        self, which: int, index: int, count: int, kind: int, *, measure: bool
    ) -> None:
        self.use(which)
        with contextlib.suppress(OSError):
            self.world.add(index, count, kind, measure=measure)

    @rule(which=which_encl, count=counts)
    def build(self, which: int, count: int) -> None:
        self.use(which)
        with contextlib.suppress(OSError):
            self.world.build(1 + count)
        with contextlib.suppress(OSError):
            self.world.map(0, PAGES, 3)

    @rule(which=which_encl, spoiled=st.booleans())
    def init(self, which: int, *, spoiled: bool) -> None:
        encl = self.use(which)
        if not encl.created:
            return
        with contextlib.suppress(OSError):
            if spoiled:
                self.world.put_sigstruct(isvprodid=1 << 15, vendor=0x8086)
            else:
                self.world.init()

    @rule(which=which_encl, change=edmm, index=indices, count=counts, what=counts)
    def change(
        self, which: int, change: tuple[int, str], index: int, count: int, what: int
    ) -> None:
        self.use(which)
        cmd, field = change
        fields = {"offset": index * PAGE, "length": count * PAGE}
        struct = STRUCTS[cmd]
        zero = vars(struct.from_bytes(bytes(struct.SIZE)))
        self.world.put(struct(**zero | fields | ({field: what} if field else {})))
        with contextlib.suppress(OSError):
            self.world.ioctl(cmd)

    @rule(which=which_encl, index=indices, count=counts)
    def remove(self, which: int, index: int, count: int) -> None:
        """Trim pages, accept those that there are, and remove them."""
        encl = self.use(which)
        modify = uapi.SGX_IOC_ENCLAVE_MODIFY_TYPES
        where = {"offset": index * PAGE, "length": count * PAGE, "count": 0}
        trim = uapi.sgx_enclave_modify_types(**where, page_type=4, result=0)
        with contextlib.suppress(OSError):
            self.world.put(trim)
            self.world.ioctl(modify)
        for at in range(index, index + count):
            page = encl.page(BASE + at * PAGE) if encl.created else None
            if page is not None and page.type == PageType.TRIM:
                self.world.accept(at)
        with contextlib.suppress(OSError):
            self.world.put(uapi.sgx_enclave_remove_pages(**where))
            self.world.ioctl(uapi.SGX_IOC_ENCLAVE_REMOVE_PAGES)

    @rule(which=which_encl, cmd=st.sampled_from(sorted(IOCTLS)), junk=words)
    def junk(self, which: int, cmd: int, junk: int) -> None:
        self.use(which)
        self.world.args.data[:64] = junk.to_bytes(8, "little") * 8
        with contextlib.suppress(OSError):
            self.world.ioctl(cmd, junk if junk & 1 else ARGS)

    @rule(which=which_encl, index=indices, count=counts, prot=st.integers(0, 7))
    def map(self, which: int, index: int, count: int, prot: int) -> None:
        self.use(which)
        with contextlib.suppress(OSError):
            self.world.map(index, count, prot)

    @rule(index=indices, count=counts, prot=st.integers(0, 7), unmap=st.booleans())
    def protect(self, index: int, count: int, prot: int, *, unmap: bool) -> None:
        where = BASE + index * PAGE, count * PAGE
        with contextlib.suppress(OSError):
            if unmap:
                self.driver.munmap(self.mm, *where)
            else:
                self.driver.mprotect(self.mm, *where, prot)

    @rule(index=indices, error=st.integers(0, 31), inside=st.booleans())
    def touch(self, index: int, error: int, *, inside: bool) -> None:
        where = BASE + index * PAGE
        self.driver.fault(self.mm, where, error & ~8, from_enclave=inside)

    @rule(
        which=which_encl,
        leaf=st.sampled_from([Enclu.EACCEPT, Enclu.EMODPE, Enclu.EACCEPTCOPY]),
        index=indices,
        flags=st.sampled_from([0x20B, 0x410, 0x221, 0x110, 0x203, 0x207, 0x201]),
        other=indices,
    )
    def leaf(self, which: int, leaf: Enclu, index: int, flags: int, other: int) -> None:
        encl = self.encls[which]
        if not encl.initialized:
            return
        lp = Processor(9, UserLinear(self.mm, self.world.task, self.world.machine))
        lp.enclave_mode = True
        lp.cr_active_secs, lp.cr_elrange = encl.secs, (encl.base, encl.size)
        secinfo = BASE + other * PAGE
        lp.regs.rax, lp.regs.rbx = leaf, secinfo
        lp.regs.rcx, lp.regs.rdx = BASE + index * PAGE, BASE + other * PAGE
        with contextlib.suppress(Fault):
            flag_bytes = bytes(Secinfo(flags=SecinfoFlags(flags)))
            lp.memory.store(secinfo, flag_bytes)
            enclu.execute(self.world.machine, lp, leaf)

    @rule()
    def fork(self) -> None:
        self.others = [*self.others[-2:], self.mm.fork()]

    @rule(which=which_encl)
    def release(self, which: int) -> None:
        gone = self.encls[which]
        for mm in (self.mm, *self.others):
            for vma in [vma for vma in mm.vmas if vma.encl is gone]:
                mm.remove(vma.start, vma.end)
        self.driver.release(gone)
        self.encls[which] = self.driver.open(self.memories[which])

    @rule()
    def drain(self) -> None:
        self.driver.drain()
        self.driver.effective(self.mm, BASE, BASE + PAGES * PAGE)

    @invariant()
    def sound(self) -> None:
        assert_sound(self.driver)

    def teardown(self) -> None:
        for encl in self.encls:
            self.driver.release(encl)
        assert self.driver.section.free == EPC_PAGES
        assert not any(e.valid for e in self.world.machine.epcm.contents().values())
        assert not self.world.machine.enclaves


TestStorm = Storm.TestCase
TestStorm.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
