"""What kind of processor this is: everything that CPUID can say about SGX."""

from dataclasses import dataclass

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.cpuid import (
    LEAF7_EBX_SGX,
    LEAF7_ECX_SGX_LC,
    LEAF_FEATURES,
    LEAF_SGX,
    AttributeMasks,
    Capabilities,
    CpuidRegs,
    EpcSection,
    Identity,
    SgxFeatures,
)
from softsgx.arch.secs import (
    XFRM_AVX,
    XFRM_LEGACY,
    XFRM_SSE,
    AttributeFlags,
    Miscselect,
)
from softsgx.machine.xsave import INTEL_LAYOUT, XsaveLayout

EPC_PHYSICAL_BASE = 1 << 36
"""Where CPUID says the EPC begins, a physical address."""


def physical_address(page: int) -> int:
    """Return the physical address of an EPC page."""
    return EPC_PHYSICAL_BASE + page * PAGE_SIZE


_XFRM_GROUPS = (0b11 << 3, 0b111 << 5, 0b11 << 17)
"""MPX, AVX-512 and AMX: XSETBV takes all bits of a group or none."""

_XFRM_AVX512 = 0b111 << 5


@dataclass(frozen=True, kw_only=True)
class Model:
    """A processor model.  Sizes of enclaves are powers of two, *epc_bytes* is bytes.

    *xfrm* is the mask of XCR0 bits that enclaves may use, *xsave* where they are saved;
    *identity* None is the machine's own; *oversub*: leaves that share EPC among guests.
    """

    sgx1: bool = True
    sgx2: bool = True
    kss: bool = True
    flc: bool = True
    aexnotify: bool = True
    edeccssa: bool = True
    exinfo: bool = True
    enclv: bool = False
    oversub: bool = False
    vmx: bool = False
    """There can be guests: CPUID says so, whatever the machine's own says."""
    provisionkey: bool = True
    """In most guests it is not enumerated: no enclave may have that attribute."""
    xfrm: int = 0x7
    max_size_64: int = 56
    max_size_not64: int = 31
    epc_bytes: int = 64 << 20
    xsave: XsaveLayout = INTEL_LAYOUT
    identity: Identity | None = None

    @property
    def epc_pages(self) -> int:
        """Pages of the EPC."""
        return self.epc_bytes // PAGE_SIZE

    @property
    def attributes(self) -> AttributeFlags:
        """The flags that ECREATE accepts in SECS.ATTRIBUTES."""
        flags = (
            AttributeFlags.DEBUG
            | AttributeFlags.MODE64BIT
            | AttributeFlags.EINITTOKENKEY
        )
        if self.provisionkey:
            flags |= AttributeFlags.PROVISIONKEY
        if self.kss:
            flags |= AttributeFlags.KSS
        if self.aexnotify:
            flags |= AttributeFlags.AEXNOTIFY
        return flags

    @property
    def miscselect(self) -> Miscselect:
        """The features that ECREATE accepts in SECS.MISCSELECT."""
        return Miscselect.EXINFO if self.exinfo else Miscselect(0)

    def is_xfrm_legal(self, xfrm: int) -> bool:
        """Say whether XFRM is a value that XSETBV would take, with x87 and SSE set.

        SDM: "SECS.ATTRIBUTES.XFRM".
        """
        if xfrm & XFRM_LEGACY != XFRM_LEGACY:
            return False
        if xfrm & _XFRM_AVX512 and not (xfrm & XFRM_AVX and xfrm & XFRM_SSE):
            return False
        return all(xfrm & group in (0, group) for group in _XFRM_GROUPS)

    def cpuid(self, leaf: int, subleaf: int) -> CpuidRegs:
        """Return what CPUID says of SGX: leaf 12H, and SGX's bits alone of leaf 7."""
        if leaf == LEAF_FEATURES and subleaf == 0 and self.sgx1:
            return CpuidRegs(ebx=LEAF7_EBX_SGX, ecx=LEAF7_ECX_SGX_LC * self.flc)
        if leaf != LEAF_SGX or not self.sgx1:
            return CpuidRegs()
        if subleaf == 0:
            return self._capabilities().regs()
        if subleaf == 1:
            return AttributeMasks(flags=self.attributes, xfrm=self.xfrm).regs()
        if subleaf == 2:
            return EpcSection(base=EPC_PHYSICAL_BASE, size=self.epc_bytes).regs()
        return CpuidRegs()

    def _capabilities(self) -> Capabilities:
        features = SgxFeatures.SGX1
        if self.sgx2:
            features |= SgxFeatures.SGX2
        if self.edeccssa:
            features |= SgxFeatures.EDECCSSA
        if self.enclv:
            features |= SgxFeatures.ENCLV
        if self.oversub:
            features |= SgxFeatures.OVERSUB
        return Capabilities(
            features=features,
            miscselect=int(self.miscselect),
            max_size_not64=self.max_size_not64,
            max_size_64=self.max_size_64,
        )
