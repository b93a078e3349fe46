"""A logical processor: registers, and what SGX adds to them."""

from dataclasses import dataclass, field

from softsgx.machine.memory import Linear
from softsgx.machine.xsave import AREA_MIN_SIZE

RFLAGS_FIXED = 1 << 1
RFLAGS_CF = 1 << 0
RFLAGS_PF = 1 << 2
RFLAGS_AF = 1 << 4
RFLAGS_ZF = 1 << 6
RFLAGS_SF = 1 << 7
RFLAGS_TF = 1 << 8
RFLAGS_IF = 1 << 9
RFLAGS_DF = 1 << 10
RFLAGS_OF = 1 << 11
RFLAGS_IOPL = 3 << 12
RFLAGS_NT = 1 << 14
RFLAGS_RF = 1 << 16
RFLAGS_VM = 1 << 17
RFLAGS_AC = 1 << 18
RFLAGS_ID = 1 << 21
RFLAGS_ARITHMETIC = (
    RFLAGS_CF | RFLAGS_PF | RFLAGS_AF | RFLAGS_ZF | RFLAGS_SF | RFLAGS_OF
)
RFLAGS_RESTORED = (
    RFLAGS_ARITHMETIC | RFLAGS_DF | RFLAGS_NT | RFLAGS_RF | RFLAGS_AC | RFLAGS_ID
)
"""Bits of RFLAGS that leaves read or write; the last, those that ERESUME restores."""

ENCLU_SIZE = 3
"""Bytes of the instruction ENCLU (and ENCLS)."""


@dataclass
class Regs:
    """The general registers, RIP, RFLAGS and the FS and GS bases."""

    rax: int = 0
    rbx: int = 0
    rcx: int = 0
    rdx: int = 0
    rsi: int = 0
    rdi: int = 0
    rbp: int = 0
    rsp: int = 0
    r8: int = 0
    r9: int = 0
    r10: int = 0
    r11: int = 0
    r12: int = 0
    r13: int = 0
    r14: int = 0
    r15: int = 0
    rip: int = 0
    rflags: int = RFLAGS_FIXED
    fsbase: int = 0
    gsbase: int = 0


@dataclass(frozen=True)
class Controls:
    """VM-execution controls of a guest's processor that concern SGX.

    *enclv_exiting* is its bitmap, None where "enable ENCLV exiting" is 0.
    """

    enclv_exiting: int | None = None
    epc_virtualization_extensions: bool = False


@dataclass
class Processor:
    """One logical processor.  The cr_ names are the manual's internal registers.

    *xsave* is in the standard format, *event_pending* for EINIT, *debug_pending* a
    single-step #DB at a leaf's end; *vmx* is VMX operation, non-root under *controls*.
    """

    id: int
    memory: Linear
    regs: Regs = field(default_factory=Regs)
    cpl: int = 3
    xsave: bytearray = field(default_factory=lambda: bytearray(AREA_MIN_SIZE))
    xcr0: int = 0x7
    cr4_osfxsr: bool = True
    cr4_osxsave: bool = True
    event_pending: bool = False
    debug_pending: bool = False
    enclave_mode: bool = False
    cr_active_secs: int = 0
    cr_elrange: tuple[int, int] = (0, 0)
    cr_tcs_la: int = 0
    cr_tcs_pa: int = 0
    cr_xsave_page: tuple[int, ...] = ()
    cr_gpr_pa: int = 0
    cr_dbgoptin: bool = False
    cr_save_tf: bool = False
    cr_save_fs: int = 0
    cr_save_gs: int = 0
    cr_save_xcr0: int = 0
    aep: int = 0
    vmx: bool = False
    controls: Controls | None = None

    @classmethod
    def kernel(cls, memory: Linear, processor: int = 0) -> "Processor":
        """Return a processor at CPL 0, as ENCLS needs it."""
        return cls(processor, memory, cpl=0)

    @property
    def has_epc_virtualization(self) -> bool:
        """Say whether this is a guest's, of a monitor that evicts its pages unseen."""
        return bool(self.controls and self.controls.epc_virtualization_extensions)
