"""An enclave's memory, a task and a small world to build enclaves in."""

import errno
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import Any, cast

import pytest

from softsgx.arch.layout import Layout
from softsgx.arch.secinfo import PageType, Secinfo, SecinfoFlags
from softsgx.arch.secs import AttributeFlags, Attributes, Miscselect, Secs
from softsgx.arch.sigstruct import EXPONENT, HEADER, HEADER2, Sigstruct, signed_part
from softsgx.arch.tcs import Tcs
from softsgx.crypto.rsa import SigningKey, quotients
from softsgx.driver import uapi
from softsgx.driver.driver import Driver
from softsgx.driver.mm import Mm
from softsgx.driver.protocols import Backing, NotYetError, Source
from softsgx.machine.epc import Epc
from softsgx.machine.machine import Machine
from softsgx.machine.model import Model
from softsgx.machine.package import Package
from softsgx.native.backing import Image, Place, places

PAGE = 4096
BASE = 0x10_0000_0000
SIZE = 0x10_0000
SOURCE = 0x7000_0000
ARGS = 0x6000_0000
SCRATCH = 0x6100_0000
RW = uapi.PROT_READ | uapi.PROT_WRITE
RWX = uapi.PROT_RWX
REG_RW = SecinfoFlags.of(PageType.REG, RW)
TCS = SecinfoFlags.of(PageType.TCS)


class CountedEntropy:
    """Random bytes that are not: the same in every run."""

    def random(self, size: int) -> bytes:
        return bytes(size)


class FakeMemory:
    """An enclave's memory; *refuses* makes resize fail with that errno."""

    def __init__(self, refuses: int = 0) -> None:
        self.refuses = refuses
        self.bytes = bytearray()
        self.zapped: list[tuple[int, int]] = []
        self.words: dict[int, int] = {}
        self.tallies: dict[int, tuple[int, ...]] = {}
        self.eras = 0
        self.closed = False

    def close(self) -> None:
        self.closed = True

    def resize(self, size: int) -> None:
        if self.refuses:
            raise OSError(self.refuses, "refused")
        self.bytes = bytearray(size)

    def view(self) -> memoryview:
        return memoryview(self.bytes)

    def zap(self, offset: int, length: int) -> None:
        self.zapped.append((offset, length))
        self.bytes[offset : offset + length] = bytes(length)

    def put(self, offset: int, pieces: Sequence[bytes]) -> None:
        data = b"".join(pieces)
        assert not any(self.bytes[offset : offset + len(data)]), "not a hole"
        self.bytes[offset : offset + len(data)] = data

    def populate(self, offset: int, length: int) -> None:
        assert offset + length <= len(self.bytes)

    def backing(self) -> "FakeBacking":
        self.store = FakeBacking()
        return self.store

    def new_era(self) -> None:
        self.eras += 1

    def tally(self, page: int) -> tuple[int, ...]:
        return self.tallies.get(page, (0, 0, 0, 0))

    def publish(self, page: int, words: bytes) -> None:
        for at, word in enumerate(memoryview(words).cast("H")):
            self.words[page + at] = word


class Region:
    """A mapping of the task: its bytes, and whether it could ever be executable."""

    def __init__(self, start: int, data: bytearray, *, may_exec: bool = True) -> None:
        self.start, self.data, self.may_exec = start, data, may_exec
        self.readable = True
        self.writable = True
        self.is_file = self.is_executable = self.modified = False

    @property
    def end(self) -> int:
        return self.start + len(self.data)


class FakeBacking:
    """A file for evicted pages; *full*: there is room for no more.

    *waits*: so often somebody has to wait until a page can be read.
    """

    def __init__(self) -> None:
        self.closed = self.full = False
        self.waits = 0
        self.bytes = bytearray()

    def reserve(self) -> None:
        if self.full:
            raise OSError(errno.ENOSPC, "full")

    def write(self, place: Place, images: Sequence[Image]) -> None:
        for start, pieces in zip(place, zip(*images, strict=True), strict=True):
            data = b"".join(pieces)
            self.bytes.extend(bytes(max(0, start + len(data) - len(self.bytes))))
            self.bytes[start : start + len(data)] = data

    def read(self, place: Place, count: int) -> list[Image]:
        if self.waits:
            raise NotYetError(self.fetch)
        return [
            (self.cut(contents, PAGE), self.cut(pcmd, 128))
            for contents, pcmd in places(place, count)
        ]

    def fetch(self) -> None:
        self.waits -= 1

    def cut(self, offset: int, size: int) -> bytes:
        return bytes(self.bytes[offset : offset + size]).ljust(size, b"\0")

    def close(self) -> None:
        self.closed = True


class FakeTask:
    """A thread with a few regions of memory, files and perhaps a signal."""

    def __init__(self) -> None:
        self.mm = Mm()
        self.regions: list[Region] = []
        self.files: dict[int, object] = {}
        self.signals_at: set[int] = set()
        self.signal_asked = 0
        self.copies: list[tuple[int, int]] = []
        self.memories: list[FakeMemory] = []

    def wait_for(self, fetch: Callable[[], None]) -> None:
        fetch()

    def new_memory(self) -> FakeMemory:
        self.memories.append(FakeMemory())
        return self.memories[-1]

    def add(self, start: int, data: bytes, *, may_exec: bool = True) -> Region:
        region = Region(start, bytearray(data), may_exec=may_exec)
        self.regions.append(region)
        self.regions.sort(key=lambda one: one.start)
        return region

    def _find(self, addr: int, size: int) -> Region | None:
        for region in self.regions:
            if region.start <= addr and addr + size <= region.end:
                return region
        return None

    def copy_from_user(self, addr: int, size: int) -> bytes:
        region = self._find(addr, size)
        if region is None or not region.readable:
            raise OSError(errno.EFAULT, "bad address")
        at = addr - region.start
        return bytes(region.data[at : at + size])

    def copy_into(self, addr: int, view: memoryview) -> bool:
        self.copies.append((addr, view.nbytes))
        for at in range(0, view.nbytes, PAGE):
            try:
                page = self.copy_from_user(addr + at, PAGE)
            except OSError:
                view[:] = b"\xee" * view.nbytes  # anything may be in it now
                return False
            if any(page):
                view[at : at + PAGE] = page
        return True

    def copy_to_user(self, addr: int, data: bytes) -> None:
        region = self._find(addr, len(data))
        if region is None or not region.writable:
            raise OSError(errno.EFAULT, "bad address")
        at = addr - region.start
        region.data[at : at + len(data)] = data

    def file(self, fd: int) -> object | None:
        return self.files.get(fd)

    def backing(self, fd: int) -> Backing:
        backing = self.files.get(fd)
        if not isinstance(backing, FakeBacking):
            raise OSError(errno.EINVAL, "no regular file")
        return backing

    def source(self, addr: int) -> Source | None:
        for region in self.regions:
            if addr < region.end:
                return Source(
                    region.end, region.may_exec, region.is_file, region.is_executable
                )
        return None

    def is_modified(self, addr: int, pages: int) -> bool:
        region = self._find(addr, pages * PAGE)
        return region is None or region.modified

    def signal_pending(self) -> bool:
        self.signal_asked += 1
        return self.signal_asked in self.signals_at


@cache
def signing_key() -> SigningKey:
    return SigningKey.generate()


def make_machine(model: Model | None = None, pages: int = 0) -> Machine:
    model = model or Model()
    package = Package.from_seed(b"driver tests", CountedEntropy())
    return Machine(model, package, Epc(pages or model.epc_pages))


def secs(size: int = SIZE, flags: int = 0, base: int = BASE) -> Secs:
    mode64 = AttributeFlags.MODE64BIT
    attributes = Attributes(flags=mode64 | AttributeFlags(flags), xfrm=3)
    return replace(
        Secs.zero(), size=size, baseaddr=base, ssaframesize=1, attributes=attributes
    )


def tcs_bytes() -> bytes:
    return bytes(replace(Tcs.zero(), ossa=PAGE, nssa=1, fslimit=0xFFF, gslimit=0xFFF))


def sigstruct(mrenclave: bytes, own: Attributes, **changes: object) -> Sigstruct:
    """Return a SIGSTRUCT that EINIT takes for that enclave, *changes* signed too."""
    key = signing_key()
    zero: Any = Sigstruct.zero()
    body: Sigstruct = replace(
        zero,
        header=HEADER,
        header2=HEADER2,
        modulus=key.modulus,
        exponent=EXPONENT,
        miscselect=Miscselect(0),
        attributes=own,
        enclavehash=mrenclave,
    )
    body = replace(cast(Any, body), **changes)
    signature = key.sign(signed_part(bytes(body)))
    q1, q2 = quotients(key.modulus, signature)
    return replace(body, signature=signature, q1=q1, q2=q2)


class World:
    """A machine, its driver, one task and one enclave file."""

    def __init__(self, model: Model | None = None, pages: int = 0) -> None:
        self.machine = make_machine(model, pages)
        self.driver = Driver(self.machine)
        self.task = FakeTask()
        self.mm = self.task.mm
        self.memory = FakeMemory()
        self.encl = self.driver.open(self.memory)
        self.args = self.task.add(ARGS, bytes(PAGE))
        self.scratch = self.task.add(SCRATCH, bytes(2 * PAGE))
        self.secs = secs()
        self.result: dict[str, int] = {}

    def ioctl(self, cmd: int, arg: int = ARGS) -> int:
        return self.driver.ioctl(self.encl, self.task, cmd, arg)

    def put(self, struct: Layout, scratch: bytes = b"") -> None:
        data = bytes(struct)
        self.args.data[: len(data)] = data
        self.scratch.data[: len(scratch)] = scratch

    def create(self, flags: int = 0, size: int = SIZE) -> None:
        self.secs = secs(size, flags)
        self.put(uapi.sgx_enclave_create(src=SCRATCH), bytes(self.secs))
        self.ioctl(uapi.SGX_IOC_ENCLAVE_CREATE)

    def source(self, data: bytes, *, may_exec: bool = True) -> Region:
        self.task.regions = [r for r in self.task.regions if r.start != SOURCE]
        return self.task.add(SOURCE, data, may_exec=may_exec)

    def add_struct(self, index: int, count: int, **fields: int) -> None:
        default = {
            "src": SOURCE,
            "offset": index * PAGE,
            "length": count * PAGE,
            "secinfo": SCRATCH,
            "flags": 0,
            "count": 0xDEAD,
        }
        self.put(uapi.sgx_enclave_add_pages(**default | fields))

    def add(
        self,
        index: int,
        count: int = 1,
        secinfo: int = REG_RW,
        data: bytes | None = None,
        *,
        measure: bool = False,
    ) -> int:
        """Run ADD_PAGES; return the pages that `count` reports."""
        self.source(data if data is not None else bytes(count * PAGE))
        self.add_struct(index, count, flags=int(measure))
        self.scratch.data[:64] = bytes(Secinfo(flags=SecinfoFlags(secinfo)))
        try:
            self.ioctl(uapi.SGX_IOC_ENCLAVE_ADD_PAGES)
        finally:
            done = self.count()
        return done

    def count(self) -> int:
        raw = bytes(self.args.data[: uapi.sgx_enclave_add_pages.SIZE])
        return uapi.sgx_enclave_add_pages.from_bytes(raw).count // PAGE

    def mrenclave(self) -> bytes:
        return self.machine.enclaves[self.encl.secs].measurement.digest()

    def put_sigstruct(self, **changes: object) -> None:
        signed = sigstruct(self.mrenclave(), self.secs.attributes, **changes)
        self.put(uapi.sgx_enclave_init(sigstruct=SCRATCH), bytes(signed))

    def init(self) -> None:
        self.put_sigstruct()
        self.ioctl(uapi.SGX_IOC_ENCLAVE_INIT)

    def build(self, count: int = 8, secinfo: int = REG_RW, flags: int = 0) -> None:
        """Create, add *count* pages from page 1 on and a TCS as page 0, and init."""
        self.create(flags)
        self.add(0, 1, TCS, tcs_bytes(), measure=True)
        self.add(1, count, secinfo)
        self.init()

    def map(self, index: int, count: int, prot: int, flags: int = 1) -> None:
        start = BASE + index * PAGE
        self.driver.mmap(self.mm, self.encl, start, count * PAGE, prot, flags)

    def epcm(self, index: int) -> int:
        """Return the EPCM state word of a page of the enclave."""
        page = self.encl.page(BASE + index * PAGE)
        assert page is not None
        return self.machine.epcm[page.epc_page].state

    def accept(self, index: int) -> None:
        """Do to EPCM what a successful EACCEPT does."""
        page = self.encl.page(BASE + index * PAGE)
        assert page is not None
        entry = self.machine.epcm[page.epc_page]
        self.machine.epcm[page.epc_page] = replace(
            entry, pending=False, modified=False, pr=False
        )


@contextmanager
def refused(number: int, reason: str = "") -> Iterator[pytest.ExceptionInfo[OSError]]:
    """Expect an OSError with this errno, and these words in its reason."""
    with pytest.raises(OSError) as caught:  # noqa: PT011 -- judged below
        yield caught
    assert caught.value.errno == number, caught.value
    assert reason in str(caught.value)


def swap(owner: object, name: str, function: object) -> None:
    """Put a function in the place of a method."""
    setattr(owner, name, function)
