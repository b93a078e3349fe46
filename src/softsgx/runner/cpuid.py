"""What CPUID answers under softsgx, as changes to what the machine says."""

from collections.abc import Callable, Iterator
from struct import unpack

from softsgx.arch.cpuid import (
    LEAF1_ECX_VMX,
    LEAF7_EBX_SGX,
    LEAF7_ECX_SGX_LC,
    LEAF_FEATURES,
    LEAF_SGX,
    LEAF_VERSION,
    VENDOR_INTEL,
    CpuidRegs,
    Identity,
)
from softsgx.machine.model import Model
from softsgx.machine.xsave import INTEL_LAYOUT
from softsgx.native import lib
from softsgx.native.abi import Overlay

Host = Callable[[int, int], tuple[int, int, int, int]]
"""The machine's own CPUID."""

_ALL = 0xFFFF_FFFF
_KEEP_NONE = CpuidRegs()
_EPC_SUBLEAVES = 4

_LEAF_DESCRIPTORS = 0x02
_LEAF_CACHES = 0x04
_LEAF_TOPOLOGY = 0x0B
_LEAF_XSTATE = 0x0D
_LEAF_TSC = 0x15
_LEAF_FREQUENCY = 0x16
_CRYSTAL_HZ = 25_000_000
_BUS_MHZ = 100
_LEAF_POWER = 0x8000_0007
_LEAF_AMD_CACHES = 0x8000_001D
_CACHE_LEVELS = 6
_CACHE_TYPE = 0x1F
_LAST_EXTENDED = 0x8000_0008

_SEE_CACHES = CpuidRegs(eax=0x00FE_FF01, ebx=0xF0)
"""Leaf 2 of processors that describe caches and TLBs in leaves 4 and 18H."""

_CONSTANT: tuple[tuple[int, int | None], ...] = (
    (0, None),
    *((7, subleaf) for subleaf in range(3)),
    (0xD, 0),
    *((0xD, subleaf) for subleaf in range(2, 32)),
    *((0x14, subleaf) for subleaf in range(2)),
    *((0x8000_0000 + leaf, None) for leaf in range(9)),
)
"""Leaves and sub-leaves without anything of one processor's own, or of a task's."""

_EXTENDED_ECX = 1 << 0 | 1 << 5 | 1 << 8
"""LAHF and SAHF, LZCNT, PREFETCHW."""
_EXTENDED_EDX = 1 << 11 | 1 << 20 | 1 << 26 | 1 << 27 | 1 << 29
"""SYSCALL, execute disable, 1-GByte pages, RDTSCP, 64-bit mode."""
_INVARIANT_TSC = 1 << 8
_WBNOINVD = 1 << 9


def overlays(
    model: Model, host: Host = lib.cpuid, *, tsc_khz: int = 0
) -> list[Overlay]:
    """Return the overlays of a model; the agent takes the first that fits.

    A processor's identity is the model's, what it can execute is the machine's, and so
    is the rate of its time stamp counter (0: not known).
    """
    rate: list[Overlay] = []
    if model.identity is not None and tsc_khz and not _tells_rate(host):
        rate = list(_rate(tsc_khz, host))
    who = [*_version(model), *_identity(model.identity, host)]
    return [*_sgx(model, host, rate), *rate, *who]


def view(
    model: Model, leaf: int, subleaf: int, host: Host = lib.cpuid, *, tsc_khz: int = 0
) -> CpuidRegs:
    """Return what a program sees."""
    changes = overlays(model, host, tsc_khz=tsc_khz)
    return _seen(changes, CpuidRegs(*host(leaf, subleaf)), leaf, subleaf)


def constants(changes: list[Overlay], host: Host = lib.cpuid) -> list[Overlay]:
    """Return whole answers, under some changes, that are alike on all processors.

    The agent then need not ask the processor, which takes long in a virtual machine; a
    program's loader asks some forty times.
    """
    known = {0: host(0, 0)[0], 0x8000_0000: host(0x8000_0000, 0)[0]}
    found = []
    for leaf, subleaf in _CONSTANT:
        if leaf > known[leaf & 0x8000_0000]:
            continue
        native = CpuidRegs(*host(leaf, subleaf or 0))
        regs = _seen(changes, native, leaf, subleaf or 0)
        found.append(_overlay(leaf, regs, subleaf=subleaf))
    return found


def _seen(
    changes: list[Overlay], native: CpuidRegs, leaf: int, subleaf: int
) -> CpuidRegs:
    for change in changes:
        if change.leaf <= leaf <= change.last and (
            change.anysub or change.subleaf == subleaf
        ):
            return CpuidRegs(
                native.eax & change.keep_eax | change.add_eax,
                native.ebx & change.keep_ebx | change.add_ebx,
                native.ecx & change.keep_ecx | change.add_ecx,
                native.edx & change.keep_edx | change.add_edx,
            )
    return native


def _sgx(model: Model, host: Host, rate: list[Overlay]) -> Iterator[Overlay]:
    """Yield the largest leaf with the vendor, and what is SGX's alone."""
    native = CpuidRegs(*host(0, 0))
    highest = max(native.eax, LEAF_SGX) if model.sgx1 else native.eax
    highest = max(highest, *(one.leaf for one in rate)) if rate else highest
    vendor = native[1:]
    if model.identity is not None:
        ebx, edx, ecx = unpack("<3I", VENDOR_INTEL.encode())
        vendor = (ebx, ecx, edx)
    yield _overlay(0, CpuidRegs(highest, *vendor))
    yield _overlay(
        LEAF_FEATURES,
        model.cpuid(LEAF_FEATURES, 0),
        CpuidRegs(_ALL, _ALL & ~LEAF7_EBX_SGX, _ALL & ~LEAF7_ECX_SGX_LC, _ALL),
        subleaf=0,
    )
    if model.sgx1:
        for subleaf in range(_EPC_SUBLEAVES):
            yield _overlay(LEAF_SGX, model.cpuid(LEAF_SGX, subleaf), subleaf=subleaf)
    yield _overlay(LEAF_SGX, CpuidRegs())


def _version(model: Model) -> Iterator[Overlay]:
    """Yield leaf 1: the identity's signature, and VMX if the model has that."""
    add, keep = CpuidRegs(), CpuidRegs(_ALL, _ALL, _ALL, _ALL)
    if model.identity is not None:
        add, keep = CpuidRegs(eax=model.identity.signature), keep._replace(eax=0)
    if model.vmx:
        add = add._replace(ecx=LEAF1_ECX_VMX)
        keep = keep._replace(ecx=_ALL & ~LEAF1_ECX_VMX)
    if keep != CpuidRegs(_ALL, _ALL, _ALL, _ALL):
        yield _overlay(LEAF_VERSION, add, keep)


def _identity(identity: Identity | None, host: Host) -> Iterator[Overlay]:
    """Yield what makes the machine an Intel processor of that name."""
    if identity is None:
        return
    if not host(_LEAF_CACHES, 0)[0] & _CACHE_TYPE:
        yield _overlay(_LEAF_DESCRIPTORS, _SEE_CACHES)
        yield from _caches(host)
    yield from _xstate(host)
    yield _overlay(0x8000_0000, CpuidRegs(eax=_LAST_EXTENDED))
    yield _overlay(
        0x8000_0001,
        CpuidRegs(),
        CpuidRegs(ecx=_EXTENDED_ECX, edx=_EXTENDED_EDX),
    )
    for part in range(3):
        yield _overlay(0x8000_0002 + part, identity.brand_regs(part))
    yield _overlay(0x8000_0005, CpuidRegs())
    yield _overlay(0x8000_0006, CpuidRegs(), CpuidRegs(ecx=_ALL))
    yield _overlay(_LEAF_POWER, CpuidRegs(), CpuidRegs(edx=_INVARIANT_TSC))
    yield _overlay(0x8000_0008, CpuidRegs(), CpuidRegs(eax=0xFFFF, ebx=_WBNOINVD))
    yield _overlay(_LAST_EXTENDED + 1, CpuidRegs(), last=0x8FFF_FFFF)


def _tells_rate(host: Host) -> bool:
    """Say whether the machine has Intel's leaves for its time stamp counter's rate."""
    if host(0, 0)[0] < _LEAF_FREQUENCY:
        return False
    denominator, numerator, crystal, _ = host(_LEAF_TSC, 0)
    is_told = bool(denominator and numerator)
    return is_told and bool(crystal or host(_LEAF_FREQUENCY, 0)[0])


def _rate(tsc_khz: int, host: Host) -> Iterator[Overlay]:
    """Yield leaves 15H and 16H, if the counter's rate is constant.

    A whole number of crystal ticks makes it: the crystal's frequency is what remains.
    """
    if host(0x8000_0000, 0)[0] < _LEAF_POWER:
        return
    if not host(_LEAF_POWER, 0)[3] & _INVARIANT_TSC:
        return
    rate = tsc_khz * 1000
    ratio = max(round(rate / _CRYSTAL_HZ), 1)
    yield _overlay(_LEAF_TSC, CpuidRegs(1, ratio, round(rate / ratio)))
    mhz = round(tsc_khz / 1000)
    yield _overlay(_LEAF_FREQUENCY, CpuidRegs(mhz, mhz, _BUS_MHZ))
    first = host(0, 0)[0] + 1
    if first < _LEAF_TSC:
        yield _overlay(first, CpuidRegs(), last=_LEAF_TSC - 1)


def _caches(host: Host) -> Iterator[Overlay]:
    """Yield leaf 4 from AMD's leaf of the same layout, if the machine has that.

    Libraries size their copies and buffers by it.
    """
    if host(0x8000_0000, 0)[0] >= _LEAF_AMD_CACHES:
        cores = max(_processors(host) - 1, 0) & 0x3F
        for subleaf in range(_CACHE_LEVELS):
            eax, ebx, ecx, edx = host(_LEAF_AMD_CACHES, subleaf)
            if not eax & _CACHE_TYPE:
                break
            regs = CpuidRegs(eax & 0x03FF_FFFF | cores << 26, ebx, ecx, edx & 7)
            yield _overlay(_LEAF_CACHES, regs, subleaf=subleaf)
    yield _overlay(_LEAF_CACHES, CpuidRegs())


def _xstate(host: Host) -> Iterator[Overlay]:
    """Yield where Intel's processors save the components that the machine has.

    Runtimes know these places and refuse others.  XSAVE goes on using the machine's: an
    area is as large as the larger of the two.
    """
    supported, enabled, most, _ = native = host(_LEAF_XSTATE, 0)
    for component, offset, size in INTEL_LAYOUT.components:
        here = host(_LEAF_XSTATE, component)[1]
        if not supported >> component & 1 or here == offset:
            continue
        most = max(most, offset + size)
        if native[1] >= here + size:
            enabled = max(enabled, offset + size)
        keep = CpuidRegs(eax=_ALL, ecx=_ALL, edx=_ALL)
        yield _overlay(_LEAF_XSTATE, CpuidRegs(ebx=offset), keep, subleaf=component)
    keep = CpuidRegs(eax=_ALL, edx=_ALL)
    yield _overlay(_LEAF_XSTATE, CpuidRegs(ebx=enabled, ecx=most), keep, subleaf=0)


def _processors(host: Host) -> int:
    """Return the logical processors of a package."""
    if host(0, 0)[0] >= _LEAF_TOPOLOGY and host(_LEAF_TOPOLOGY, 1)[1]:
        return host(_LEAF_TOPOLOGY, 1)[1] & 0xFFFF
    return host(LEAF_VERSION, 0)[1] >> 16 & 0xFF


def _overlay(
    leaf: int,
    add: CpuidRegs,
    keep: CpuidRegs = _KEEP_NONE,
    *,
    subleaf: int | None = None,
    last: int | None = None,
) -> Overlay:
    """Return a change; to every sub-leaf, and to one leaf, unless told."""
    return Overlay(
        leaf=leaf,
        last=leaf if last is None else last,
        subleaf=subleaf or 0,
        anysub=int(subleaf is None),
        keep_eax=keep.eax,
        keep_ebx=keep.ebx,
        keep_ecx=keep.ecx,
        keep_edx=keep.edx,
        add_eax=add.eax,
        add_ebx=add.ebx,
        add_ecx=add.ecx,
        add_edx=add.edx,
    )
