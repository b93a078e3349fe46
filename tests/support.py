"""A small machine for tests, and ring 0 by hand: each leaf with good operands."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, TypeVar, cast

import pytest

from softsgx import encls, enclv
from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.einittoken import Einittoken
from softsgx.arch.errors import LeafFailed, SgxError
from softsgx.arch.faults import Fault
from softsgx.arch.leaves import Encls, Enclv
from softsgx.arch.pageinfo import Pageinfo
from softsgx.arch.rdinfo import Rdinfo
from softsgx.arch.secinfo import PageType, Secinfo, SecinfoFlags
from softsgx.arch.secs import AttributeFlags, Attributes, Miscselect, Secs
from softsgx.arch.sigstruct import EXPONENT, HEADER, HEADER2, Sigstruct, signed_part
from softsgx.arch.tcs import Tcs
from softsgx.crypto.rsa import SigningKey, quotients
from softsgx.crypto.sha256 import sha256
from softsgx.machine.enclave import EnclaveState
from softsgx.machine.machine import Machine
from softsgx.machine.memory import FlatMemory, epc_address
from softsgx.machine.model import Model
from softsgx.machine.package import Package
from softsgx.machine.processor import Controls, Processor

T = TypeVar("T")

BASE = 0x7000_0000_0000
SIZE = 0x10_0000
"""The range of the enclave that most tests build."""

ALL = (1 << 64) - 1
"""All bits of a mask."""

REG_RW = SecinfoFlags.of(PageType.REG, SecinfoFlags.R | SecinfoFlags.W)
REG_RX = SecinfoFlags.of(PageType.REG, SecinfoFlags.R | SecinfoFlags.X)
TCS = SecinfoFlags.of(PageType.TCS)

_PAGEINFO, _SECINFO, _SOURCE, _TOKEN = 0x1000, 0x2000, 0x3000, 0x5000
_PCMD = _SECINFO


@dataclass(frozen=True)
class Evicted:
    """What EWB left outside: the ciphertext, PCMD's bytes, and the address."""

    page: bytes
    pcmd: bytes
    linaddr: int


class CountedEntropy:
    """Bytes that look random and are the same in each run."""

    def __init__(self, seed: bytes = b"tests") -> None:
        self._seed, self._count = seed, 0

    def random(self, size: int) -> bytes:
        out = b""
        while len(out) < size:
            self._count += 1
            out += sha256(self._seed + self._count.to_bytes(8, "little"))
        return out[:size]


@cache
def signing_key(which: int = 0) -> SigningKey:
    """Return one of some keys, each made once a run."""
    del which
    return SigningKey.generate()


def changed(value: T, changes: Mapping[str, object]) -> T:
    """Return a copy of a dataclass with some fields changed."""
    return cast("T", cast("Any", replace)(value, **changes))


def make_machine(
    model: Mapping[str, object] | None = None,
    *,
    pages: int = 64,
    seed: bytes = b"seed",
) -> Machine:
    """Return a machine with that many EPC pages; *model* changes Model's fields."""
    small = Model(epc_bytes=pages * PAGE_SIZE, enclv=True, oversub=True)
    package = Package.from_seed(seed, CountedEntropy())
    return Machine.of(changed(small, model or {}), package)


def make_secs(**changes: object) -> Secs:
    """Return a SECS that ECREATE takes: 64-bit, debug, 1 MiB at BASE."""
    flags = AttributeFlags.MODE64BIT | AttributeFlags.DEBUG
    secs = replace(
        Secs.zero(),
        size=SIZE,
        baseaddr=BASE,
        ssaframesize=1,
        attributes=Attributes(flags=flags, xfrm=3),
    )
    return changed(secs, changes)


def make_tcs(**changes: int) -> bytes:
    """Return a TCS page: one frame at SIZE / 2, entry at the start."""
    tcs = replace(
        Tcs.zero(), ossa=SIZE // 2, nssa=1, fslimit=0xFFFFFFFF, gslimit=0xFFFFFFFF
    )
    return bytes(changed(tcs, changes))


@contextmanager
def refuses(
    machine: Machine, what: type[Fault] | SgxError, why: str | None = None
) -> Iterator[None]:
    """Hold that the body ends with this fault or code, for a reason, and no effect."""
    before = machine.snapshot()
    if isinstance(what, SgxError):
        with pytest.raises(LeafFailed, match=why) as failed:
            yield
        assert failed.value.code == what
    else:
        with pytest.raises(what, match=why):
            yield
    assert machine.snapshot() == before


@dataclass
class Ring0:
    """A processor at CPL 0 with memory of its own; EPC pages are numbers."""

    machine: Machine

    def __post_init__(self) -> None:
        self.memory = FlatMemory(self.machine.epc.pages)
        self.lp = Processor.kernel(self.memory)

    def leaf(self, leaf: int, rbx: int = 0, rcx: int = 0, rdx: int = 0) -> None:
        """Run a leaf; LeafFailed carries an error code out of RAX."""
        regs = self.lp.regs
        regs.rax, regs.rbx, regs.rcx, regs.rdx = leaf, rbx, rcx, rdx
        encls.execute(self.machine, self.lp, leaf)

    def call(self, leaf: Encls, rbx: int = 0, rcx: int = 0, rdx: int = 0) -> None:
        """Run a leaf past execute(), so that LeafFailed keeps its reason."""
        regs = self.lp.regs
        regs.rax, regs.rbx, regs.rcx, regs.rdx = leaf, rbx, rcx, rdx
        encls.LEAVES[leaf](self.machine, self.lp)

    def ecreate(self, page: int = 0, secs: Secs | bytes | None = None) -> int:
        """Make *page* a SECS, by default make_secs()."""
        self.memory.put(_SOURCE, bytes(make_secs() if secs is None else secs))
        self.memory.put(_SECINFO, bytes(Secinfo.SIZE))
        self.pageinfo(srcpge=_SOURCE, secinfo=_SECINFO)
        self.call(Encls.ECREATE, _PAGEINFO, epc_address(page))
        return page

    def eadd(
        self,
        page: int,
        offset: int,
        flags: SecinfoFlags = REG_RW,
        contents: bytes | None = None,
        secs: int = 0,
    ) -> None:
        """Add a page at an offset of the enclave."""
        if contents is None:
            is_tcs = flags.page_type == PageType.TCS
            contents = make_tcs() if is_tcs else bytes(PAGE_SIZE)
        self.memory.put(_SOURCE, contents)
        self.memory.put(_SECINFO, bytes(Secinfo(flags=flags)))
        self.pageinfo(
            linaddr=self.enclave(secs).secs.baseaddr + offset,
            srcpge=_SOURCE,
            secinfo=_SECINFO,
            secs=epc_address(secs),
        )
        self.call(Encls.EADD, _PAGEINFO, epc_address(page))

    def eextend(self, page: int, secs: int = 0) -> None:
        """Measure a whole page."""
        for chunk in range(0, PAGE_SIZE, 256):
            self.call(Encls.EEXTEND, epc_address(secs), epc_address(page) + chunk)

    def einit(
        self, sigstruct: bytes | None = None, token: bytes | None = None, secs: int = 0
    ) -> None:
        """Initialize, by default with a good SIGSTRUCT and its signer authorized."""
        if sigstruct is None:
            sigstruct = self.sigstruct(secs=secs)
            self.authorize(sigstruct)
        self.memory.put(_SOURCE, sigstruct)
        self.memory.put(_TOKEN - 0x800, bytes(0x800))
        self.memory.put(_TOKEN, bytes(Einittoken.SIZE) if token is None else token)
        self.call(Encls.EINIT, _SOURCE, epc_address(secs), _TOKEN)

    def eaug(self, page: int, offset: int, secs: int = 0) -> None:
        """Add a pending page at an offset of the enclave."""
        self.pageinfo(
            linaddr=self.enclave(secs).secs.baseaddr + offset, secs=epc_address(secs)
        )
        self.call(Encls.EAUG, _PAGEINFO, epc_address(page))

    def emodpr(self, page: int, permissions: int) -> None:
        """Restrict a page's permissions."""
        self.secinfo(SecinfoFlags(permissions))
        self.call(Encls.EMODPR, _SECINFO, epc_address(page))

    def emodt(self, page: int, page_type: int) -> None:
        """Change a page's type."""
        self.secinfo(SecinfoFlags.of(page_type))
        self.call(Encls.EMODT, _SECINFO, epc_address(page))

    def epa(self, page: int) -> None:
        """Make a page a version array."""
        self.call(Encls.EPA, PageType.VA, epc_address(page))

    def block(self, page: int, secs: int = 0) -> None:
        """Block a page, and track its enclave."""
        self.on_page(Encls.EBLOCK, page)
        self.on_page(Encls.ETRACK, secs)

    def ewb(self, page: int, va_page: int, slot: int = 0) -> Evicted:
        """Evict a page; return what is outside now, also if the slot was taken."""
        out, pcmd, info = bytearray(PAGE_SIZE), bytearray(128), bytearray(Pageinfo.SIZE)
        info[:] = bytes(replace(Pageinfo.zero(), srcpge=_SOURCE, secinfo=_PCMD))
        self.memory.put(_SOURCE, out)
        self.memory.put(_PCMD, pcmd)
        self.memory.put(_PAGEINFO, info)
        try:
            self.call(
                Encls.EWB, _PAGEINFO, epc_address(page), slot_address(va_page, slot)
            )
        except LeafFailed as failed:
            if failed.code != SgxError.VA_SLOT_OCCUPIED:
                raise
        linaddr = Pageinfo.from_bytes(bytes(info)).linaddr
        return Evicted(bytes(out), bytes(pcmd), linaddr)

    def eld(
        self,
        leaf: Encls,
        evicted: Evicted,
        page: int,
        va_page: int,
        slot: int = 0,
        secs: int | None = 0,
    ) -> None:
        """Load a page by ELDB or ELDU; *secs* None for a page that has none."""
        self.memory.put(_SOURCE, evicted.page)
        self.memory.put(_PCMD, evicted.pcmd)
        self.pageinfo(
            linaddr=evicted.linaddr,
            srcpge=_SOURCE,
            secinfo=_PCMD,
            secs=0 if secs is None else epc_address(secs),
        )
        self.call(leaf, _PAGEINFO, epc_address(page), slot_address(va_page, slot))

    def rdinfo(self, page: int) -> Rdinfo:
        """Return what ERDINFO says of a page."""
        rdinfo = bytearray(b"\xff" * Rdinfo.SIZE)
        self.memory.put(_SOURCE, rdinfo)
        self.call(Encls.ERDINFO, _SOURCE, epc_address(page))
        return Rdinfo.from_bytes(bytes(rdinfo))

    def monitor(self, leaf: int, rbx: int = 0, rcx: int = 0, rdx: int = 0) -> None:
        """Run a leaf of ENCLV in VMX root operation; LeafFailed carries a code."""
        regs = self.lp.regs
        self.lp.vmx = True
        regs.rax, regs.rbx, regs.rcx, regs.rdx = leaf, rbx, rcx, rdx
        enclv.execute(self.machine, self.lp, leaf)
        if regs.rax:
            raise LeafFailed(SgxError(regs.rax))

    def setcontext(self, page: int, context: int) -> None:
        """Give a SECS another ENCLAVECONTEXT."""
        self.memory.put(_SOURCE, context.to_bytes(8, "little"))
        self.monitor(Enclv.ESETCONTEXT, rcx=epc_address(page), rdx=_SOURCE)

    def on_page(self, leaf: Encls, page: int, offset: int = 0, rbx: int = 0) -> int:
        """Run a leaf whose RCX is an EPC address; return RBX."""
        self.call(leaf, rbx, epc_address(page) + offset)
        return self.lp.regs.rbx

    def pageinfo(self, **fields: int) -> int:
        """Put a PAGEINFO into memory; return its address."""
        pageinfo = replace(Pageinfo.zero(), **fields)
        self.memory.put(_PAGEINFO, bytes(pageinfo))
        return _PAGEINFO

    def secinfo(self, flags: int, tail: bytes = bytes(56)) -> int:
        """Put a SECINFO into memory; return its address."""
        self.memory.put(_SECINFO, flags.to_bytes(8, "little") + tail)
        return _SECINFO

    def source(self, contents: bytes) -> int:
        """Put a page into memory; return its address."""
        self.memory.put(_SOURCE, contents)
        return _SOURCE

    def enclave(self, secs: int = 0) -> EnclaveState:
        """Return the enclave of a SECS page; one that is not there is an empty one."""
        return self.machine.enclaves[secs]

    def sigstruct(
        self,
        secs: int = 0,
        key: SigningKey | None = None,
        change: Callable[[Sigstruct], Sigstruct] = lambda sigstruct: sigstruct,
    ) -> bytes:
        """Return a signed SIGSTRUCT of the enclave; *change* it before signing."""
        enclave = self.enclave(secs)
        sigstruct = replace(
            Sigstruct.zero(),
            header=HEADER,
            header2=HEADER2,
            exponent=EXPONENT,
            miscmask=Miscselect(0xFFFF_FFFF),
            miscselect=enclave.secs.miscselect,
            attributes=enclave.secs.attributes,
            attributemask=Attributes(
                flags=AttributeFlags((1 << 64) - 1), xfrm=2**64 - 1
            ),
            enclavehash=enclave.measurement.digest(),
            isvprodid=7,
            isvsvn=3,
        )
        return bytes(sign(change(sigstruct), key or signing_key()))

    def authorize(self, sigstruct: bytes) -> None:
        """Make a SIGSTRUCT's signer the launch key's owner."""
        modulus = Sigstruct.from_bytes(sigstruct).modulus
        self.machine.package.lepubkeyhash = sha256(modulus)


def in_guest(ring0: Ring0) -> None:
    """Let the processor be a guest's, of a monitor that evicts its pages unseen."""
    ring0.lp.vmx = True
    ring0.lp.controls = Controls(epc_virtualization_extensions=True)


def slot_address(va_page: int, slot: int) -> int:
    """Return the address of a VA page's slot."""
    return epc_address(va_page) + slot * 8


def sign(sigstruct: Sigstruct, key: SigningKey) -> Sigstruct:
    """Return the SIGSTRUCT with its signature, q1 and q2."""
    sigstruct = replace(sigstruct, modulus=key.modulus)
    signature = key.sign(signed_part(bytes(sigstruct)))
    q1, q2 = quotients(key.modulus, signature)
    return replace(sigstruct, signature=signature, q1=q1, q2=q2)


def small_enclave(machine: Machine | None = None, *, initialized: bool = True) -> Ring0:
    """Return ring 0 with an enclave: SECS 0, TCS 1, code 2, data 3, SSA 4."""
    ring0 = Ring0(machine or make_machine())
    ring0.ecreate()
    ring0.eadd(1, 0, TCS)
    ring0.eadd(2, PAGE_SIZE, REG_RX)
    ring0.eadd(3, 2 * PAGE_SIZE)
    ring0.eadd(4, SIZE // 2)
    if initialized:
        ring0.einit()
    return ring0
