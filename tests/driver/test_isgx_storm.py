"""Any order of calls to /dev/isgx, good and bad ones, leaves driver and EPCM sound."""

import contextlib

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from softsgx.arch.secinfo import PageType, SecinfoFlags
from softsgx.driver import isgx_uapi as uapi
from softsgx.driver.isgx import IOCTLS
from softsgx.driver.uapi import MAP_SHARED
from tests.driver.fakes import (
    ARGS,
    BASE,
    PAGE,
    REG_RW,
    RWX,
    SCRATCH,
    SIZE,
    TCS,
    secs,
    tcs_bytes,
)
from tests.driver.invariants import assert_sound
from tests.driver.isgx import LOCKED, NO_TOKEN, World

EPC_PAGES = 24
PAGES = 8
"""Pages of an enclave that the storm is about: few, so that things meet."""

bases = st.sampled_from([BASE, BASE + SIZE])
indices = st.sampled_from([*range(PAGES), SIZE // PAGE - 1, SIZE // PAGE])
words = st.one_of(
    st.sampled_from([0, 1, PAGE, SIZE, BASE, SCRATCH, ARGS, (1 << 64) - PAGE]),
    st.integers(0, (1 << 64) - 1),
)


class Storm(RuleBasedStateMachine):
    """Two ranges of one task, on an EPC that is too small for them."""

    @initialize()
    def begin(self) -> None:
        self.world = World(LOCKED, EPC_PAGES)
        self.driver, self.mm = self.world.driver, self.world.mm

    def ioctl(self, cmd: int) -> None:
        with contextlib.suppress(OSError):
            self.world.ioctl(cmd)

    @rule(base=bases, length=st.sampled_from([SIZE, 2 * SIZE, PAGE]))
    def map(self, base: int, length: int) -> None:
        with contextlib.suppress(OSError):
            self.driver.mmap(self.mm, self.world.file, base, length, 0, MAP_SHARED)

    @rule(base=bases, size=st.sampled_from([SIZE, 2 * SIZE]))
    def create(self, base: int, size: int) -> None:
        self.world.put_create(secs(size=size, base=base))
        self.ioctl(uapi.SGX_IOC_ENCLAVE_CREATE)

    @rule(
        base=bases,
        index=indices,
        kind=st.sampled_from([REG_RW, TCS, int(SecinfoFlags.of(PageType.REG, RWX))]),
        mask=st.integers(0, 0xFFFF),
    )
    def add(self, base: int, index: int, kind: int, mask: int) -> None:
        self.world.put_add(
            0, tcs_bytes(), kind=kind, addr=base + index * PAGE, mrmask=mask
        )
        self.ioctl(uapi.SGX_IOC_ENCLAVE_ADD_PAGE)

    @rule()
    def init(self) -> None:
        vma = self.mm.find(BASE)
        if vma and vma.encl.created:
            self.world.secs = self.driver.machine.enclaves[vma.encl.secs].secs
            self.world.put_init(NO_TOKEN)
            self.ioctl(uapi.SGX_IOC_ENCLAVE_INIT)

    @rule(cmd=st.sampled_from(sorted(IOCTLS)), data=st.lists(words, max_size=4))
    def nonsense(self, cmd: int, data: list[int]) -> None:
        raw = b"".join(word.to_bytes(8, "little") for word in data)
        self.world.put(ARGS, raw.ljust(32, b"\0"))
        self.ioctl(cmd)

    @rule(base=bases, index=indices, count=st.integers(0, 5), prot=st.integers(0, 7))
    def protect(self, base: int, index: int, count: int, prot: int) -> None:
        with contextlib.suppress(OSError):
            self.driver.mprotect(self.mm, base + index * PAGE, count * PAGE, prot)

    @rule(base=bases, index=indices, count=st.integers(0, 300))
    def unmap(self, base: int, index: int, count: int) -> None:
        with contextlib.suppress(OSError):
            self.driver.munmap(self.mm, base + index * PAGE, count * PAGE)
        # What the runner owes when nobody has an enclave's memory any more.
        for encl in list(self.driver.by_secs.values()):
            if not encl.vma_count:
                self.driver.release(encl)

    @rule(base=bases, index=indices, code=st.sampled_from([4, 6, 20]))
    def touch(self, base: int, index: int, code: int) -> None:
        self.driver.fault(self.mm, base + index * PAGE, code, from_enclave=True)

    @invariant()
    def is_sound(self) -> None:
        assert_sound(self.driver)
        self.driver.effective(self.mm, BASE, BASE + 4 * SIZE)
        self.driver.drain()
        for encl in self.driver.by_secs.values():
            assert encl.vma_count == sum(vma.encl is encl for vma in self.mm.vmas)
        open_ones = [m for m in self.world.task.memories if not m.closed]
        assert len(open_ones) >= len(self.driver.by_secs)


TestStorm = Storm.TestCase
TestStorm.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
