"""A guest on a small machine, and its ring 0 by hand."""

from dataclasses import dataclass, field

from softsgx.arch.faults import Fault
from softsgx.arch.leaves import Encls
from softsgx.arch.pageinfo import Pageinfo
from softsgx.arch.secinfo import Secinfo
from softsgx.machine.machine import Machine
from softsgx.machine.memory import FlatMemory, epc_address
from softsgx.machine.processor import Processor
from softsgx.virt.einit import Judge
from softsgx.virt.vcpu import Setup, Vcpu
from tests.support import make_machine

PAGEINFO, SECINFO, SECS, TOKEN = 0x1000, 0x2000, 0x3000, 0x5000


@dataclass
class Guest:
    """A guest whose firmware has run."""

    setup: Setup = field(default_factory=lambda: Setup(epc_bytes=64 << 12))
    provisioning: bool = False
    machine: Machine = field(default_factory=make_machine)
    judge: Judge | None = None

    def __post_init__(self) -> None:
        self.vcpu = Vcpu(
            self.machine, self.setup, provisioning=self.provisioning, judge=self.judge
        )
        self.vcpu.reset()
        self.memory = FlatMemory(self.machine.epc.pages)
        self.lp = Processor.kernel(self.memory)

    def encls(self, leaf: int, rbx: int = 0, rcx: int = 0, rdx: int = 0) -> int:
        regs = self.lp.regs
        regs.rax, regs.rbx, regs.rcx, regs.rdx = leaf, rbx, rcx, rdx
        self.vcpu.execute(self.machine, self.lp, leaf)
        return regs.rax

    def ecreate(self, secs: bytes, page: int = 0, rbx: int = PAGEINFO) -> None:
        self.memory.put(SECS, secs)
        self.memory.put(SECINFO, bytes(Secinfo.SIZE))
        info = Pageinfo(linaddr=0, srcpge=SECS, secinfo=SECINFO, secs=0)
        self.memory.put(PAGEINFO, bytes(info))
        self.encls(Encls.ECREATE, rbx, epc_address(page))

    def fault(self, secs: bytes, page: int = 0) -> str:
        """Return the mnemonic and the reason of ECREATE's fault; nothing: it ran."""
        try:
            self.ecreate(secs, page)
        except Fault as fault:
            return f"{fault.mnemonic}: {fault.reason}"
        return ""
