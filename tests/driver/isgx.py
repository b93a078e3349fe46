"""A small world with a locked machine and an open /dev/isgx."""

import os

from softsgx.arch.einittoken import Einittoken
from softsgx.arch.secinfo import Secinfo, SecinfoFlags
from softsgx.arch.secs import Secs
from softsgx.crypto.sha256 import sha256
from softsgx.driver import isgx_uapi as uapi
from softsgx.driver.driver import Driver
from softsgx.driver.encl import Encl
from softsgx.driver.uapi import MAP_SHARED
from softsgx.machine.model import Model
from softsgx.machine.package import OPTED_IN
from tests.driver.fakes import (
    ARGS,
    BASE,
    PAGE,
    REG_RW,
    SCRATCH,
    SIZE,
    SOURCE,
    FakeMemory,
    FakeTask,
    make_machine,
    secs,
    signing_key,
    sigstruct,
)

LOCKED = Model(flc=False, sgx2=False, kss=False, aexnotify=False, max_size_64=36)
SECS_AT, SECINFO_AT, SIGSTRUCT_AT, TOKEN_AT = range(SCRATCH, SCRATCH + 4 * PAGE, PAGE)
NOWHERE = 0x5000_0000
NO_TOKEN = bytes(Einittoken.SIZE)


class World:
    """A locked machine, one task, an open /dev/isgx."""

    def __init__(self, model: Model = LOCKED, pages: int = 0) -> None:
        self.machine = make_machine(model, pages)
        self.machine.package.feature_control = OPTED_IN
        self.machine.package.lepubkeyhash = sha256(signing_key().modulus)
        self.driver = Driver(self.machine)
        self.file = self.driver.open_isgx(FakeMemory(), os.O_RDWR)
        self.task = FakeTask()
        self.mm = self.task.mm
        self.args = self.task.add(ARGS, bytes(PAGE))
        for at in (SECS_AT, SECINFO_AT, SIGSTRUCT_AT, TOKEN_AT, SOURCE):
            self.task.add(at, bytes(PAGE))
        self.secs = secs()

    def put(self, at: int, data: bytes) -> None:
        (region,) = [one for one in self.task.regions if one.start == at]
        region.data[: len(data)] = data

    def ioctl(self, cmd: int, arg: int = ARGS) -> int:
        return self.driver.ioctl(self.file, self.task, cmd, arg)

    def map(self, start: int = BASE, length: int = SIZE, prot: int = 0) -> None:
        self.driver.mmap(self.mm, self.file, start, length, prot, MAP_SHARED)

    def put_create(self, wanted: Secs, src: int = SECS_AT) -> None:
        self.put(SECS_AT, bytes(wanted))
        self.put(ARGS, bytes(uapi.sgx_enclave_create(src=src)))

    def create(self, wanted: Secs | None = None) -> Encl:
        self.put_create(wanted or self.secs)
        assert self.ioctl(uapi.SGX_IOC_ENCLAVE_CREATE) == 0
        return self.encl()

    def encl(self, at: int = BASE) -> Encl:
        vma = self.mm.find(at)
        assert vma
        return vma.encl

    def put_add(
        self, index: int, data: bytes = b"", *, kind: int = REG_RW, **fields: int
    ) -> None:
        self.put(SOURCE, data.ljust(PAGE, b"\0"))
        self.put(SECINFO_AT, bytes(Secinfo(flags=SecinfoFlags(kind))))
        default = {"addr": BASE + index * PAGE, "src": SOURCE, "secinfo": SECINFO_AT}
        params = uapi.sgx_enclave_add_page(**default | {"mrmask": 0} | fields)
        self.put(ARGS, bytes(params))

    def add(self, index: int = 1, data: bytes = b"", **fields: int) -> int:
        self.put_add(index, data, **fields)
        return self.ioctl(uapi.SGX_IOC_ENCLAVE_ADD_PAGE)

    def mrenclave(self) -> bytes:
        return self.machine.enclaves[self.encl().secs].measurement.digest()

    def put_init(self, token: bytes, **fields: int) -> None:
        signed = sigstruct(self.mrenclave(), self.secs.attributes)
        self.put(SIGSTRUCT_AT, bytes(signed))
        self.put(TOKEN_AT, token)
        default = {"addr": BASE, "sigstruct": SIGSTRUCT_AT, "einittoken": TOKEN_AT}
        self.put(ARGS, bytes(uapi.sgx_enclave_init(**default | fields)))

    def init(self, **fields: int) -> int:
        self.put_init(NO_TOKEN, **fields)
        return self.ioctl(uapi.SGX_IOC_ENCLAVE_INIT)


def created() -> World:
    world = World()
    world.map()
    world.create()
    return world


def ready() -> World:
    """A world whose arguments are those of an INIT that works."""
    world = created()
    world.add(1, b"\1" * PAGE, mrmask=0xFFFF)
    world.put_init(NO_TOKEN)
    return world
