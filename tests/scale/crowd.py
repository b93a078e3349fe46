"""A machine of any size with any number of enclaves, whose memory is as in a run."""

from dataclasses import replace

from softsgx.arch.faults import PFEC_U, PFEC_W
from softsgx.arch.secinfo import Secinfo, SecinfoFlags
from softsgx.driver import uapi
from softsgx.driver.driver import Driver
from softsgx.driver.encl import Encl
from softsgx.driver.fault import Resolved
from softsgx.machine.model import Model
from softsgx.native.memory import SharedMemory
from tests.driver.fakes import (
    ARGS,
    PAGE,
    REG_RW,
    RW,
    SCRATCH,
    SOURCE,
    TCS,
    FakeTask,
    make_machine,
    secs,
    sigstruct,
    tcs_bytes,
)

ENCLAVE_SIZE = 1 << 30
FIRST_BASE = 1 << 40
PAGES = 9
"""Pages of an enclave as it is built, a TCS among them; then come those by EAUG."""


class Crowd:
    """Enclaves of one process, alike but for their places."""

    def __init__(self, epc_bytes: int, *, pages: bool = False) -> None:
        self.machine = make_machine(Model(epc_bytes=epc_bytes))
        self.driver = Driver(self.machine, pages=pages)
        self.task = FakeTask()
        self.task.add(SOURCE, tcs_bytes() + bytes((PAGES - 1) * PAGE))
        self._args = self.task.add(ARGS, bytes(PAGE))
        self._scratch = self.task.add(SCRATCH, bytes(PAGE))
        self._sigstruct = b""
        self._made = 0

    def build(self, opened: Encl | None = None) -> Encl:
        """Make an enclave, of what was *opened* if it was, and map all of it."""
        base = FIRST_BASE + self._made * ENCLAVE_SIZE
        self._made += 1
        encl = opened or self.driver.open(SharedMemory("scale"))
        own = secs(ENCLAVE_SIZE, base=base)
        self._ioctl(
            encl,
            uapi.SGX_IOC_ENCLAVE_CREATE,
            bytes(uapi.sgx_enclave_create(src=SCRATCH)),
            bytes(own),
        )
        self.add(encl, 0, 1, TCS)
        self.add(encl, 1, PAGES - 1, REG_RW)
        if not self._sigstruct:
            enclave = self.machine.enclaves[encl.secs]
            mrenclave = enclave.measurement.digest()
            self._sigstruct = bytes(sigstruct(mrenclave, own.attributes))
        self._ioctl(
            encl,
            uapi.SGX_IOC_ENCLAVE_INIT,
            bytes(uapi.sgx_enclave_init(sigstruct=SCRATCH)),
            self._sigstruct,
        )
        self.driver.mmap(self.task.mm, encl, base, ENCLAVE_SIZE, RW, 1)
        self.driver.drain()
        return encl

    def add(self, encl: Encl, index: int, count: int, flags: int) -> None:
        """Add pages before EINIT."""
        arg = uapi.sgx_enclave_add_pages(
            src=SOURCE + index * PAGE,
            offset=index * PAGE,
            length=count * PAGE,
            secinfo=SCRATCH,
            flags=0,
            count=0,
        )
        secinfo = replace(Secinfo.zero(), flags=SecinfoFlags(flags))
        raw = bytes(secinfo)
        self._ioctl(encl, uapi.SGX_IOC_ENCLAVE_ADD_PAGES, bytes(arg), raw)

    def touch(self, encl: Encl, index: int) -> None:
        """Write to a page from inside: EAUG, or ELDU, makes it be there."""
        code = PFEC_U | PFEC_W
        address = encl.base + index * PAGE
        found = self.driver.fault(self.task.mm, address, code, from_enclave=True)
        assert isinstance(found, Resolved)
        self.driver.drain()

    def remove(self, encl: Encl) -> None:
        """Let an enclave be gone as it is when its last descriptor and mapping are."""
        self.driver.munmap(self.task.mm, encl.base, encl.size)
        memory = encl.memory
        self.driver.release(encl)
        assert isinstance(memory, SharedMemory)
        memory.close()

    def _ioctl(self, encl: Encl, cmd: int, arg: bytes, scratch: bytes) -> None:
        self._args.data[: len(arg)] = arg
        self._scratch.data[: len(scratch)] = scratch
        self.driver.ioctl(encl, self.task, cmd, ARGS)
        self.driver.drain()
