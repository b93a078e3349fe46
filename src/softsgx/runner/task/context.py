"""A thread's context on its way between the agent and the model.

The layout is `native.abi.Context`; this is its fast form, for it is read and written
at every leaf that the supervisor executes.
"""

from dataclasses import dataclass

from softsgx.machine.processor import Processor, Regs
from softsgx.native import abi
from softsgx.native.abi import Debug, Outcome
from softsgx.runner.task.caller import Caller

_, _FORMAT = abi.packer(abi.Context)
_REGS = 20
"""Registers at the head of the layout."""
_SIGNED = (1 << 32) - 1


@dataclass(slots=True)
class Context:
    """The fields of `native.abi.Context`, registers apart."""

    regs: Regs
    inside: int = 0
    debug: int = 0
    tcs: int = 0
    aep: int = 0
    savefs: int = 0
    savegs: int = 0
    xsave: int = 0
    xsavesize: int = 0
    xcr0: int = 0
    vector: int = 0
    error: int = 0
    address: int = 0
    signo: int = 0
    sicode: int = 0
    outcome: int = 0
    nops: int = 0
    more: int = 0
    said: int = 0
    attributes: int = 0
    xfrm: int = 0
    ssaframesize: int = 0
    miscselect: int = 0

    @classmethod
    def read(cls, caller: Caller, address: int) -> "Context":
        """Copy a thread's context in; OSError(EFAULT)."""
        return cls.unpack(caller.read(address, _FORMAT.size))

    @classmethod
    def unpack(cls, raw: bytes) -> "Context":
        """Decode the bytes of `native.abi.Context`."""
        fields = _FORMAT.unpack(raw)
        return cls(_regs(fields[:_REGS]), *fields[_REGS:])

    def write(self, caller: Caller, address: int) -> None:
        """Copy the context out."""
        caller.write(address, self.pack())

    def pack(self) -> bytes:
        """Return the bytes of `native.abi.Context`."""
        r = self.regs
        return _FORMAT.pack(
            *(r.rax, r.rbx, r.rcx, r.rdx, r.rsi, r.rdi, r.rbp, r.rsp),
            *(r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15),
            *(r.rip, r.rflags, r.fsbase, r.gsbase),
            *(self.inside, self.debug, self.tcs, self.aep, self.savefs, self.savegs),
            *(self.xsave, self.xsavesize, self.xcr0, self.vector, self.error),
            *(self.address, self.signo, self.sicode & _SIGNED, self.outcome),
            *(self.nops, self.more, self.said),
            *(self.attributes, self.xfrm, self.ssaframesize, self.miscselect),
        )

    def take(self, lp: Processor) -> None:
        """Show the processor's state to the thread: it goes on from there."""
        self.regs = lp.regs
        self.inside = int(lp.enclave_mode)
        self.tcs = lp.cr_tcs_la
        self.aep = lp.aep
        self.savefs, self.savegs = lp.cr_save_fs, lp.cr_save_gs
        self.debug = (
            Debug.SAVE_TF * lp.cr_save_tf
            | Debug.OPT_IN * lp.cr_dbgoptin
            | Debug.PENDING * lp.debug_pending
        )
        self.outcome = Outcome.LOAD


def _regs(values: tuple[int, ...]) -> Regs:
    """Build registers from the order of `native.abi.Context`."""
    rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp, *rest = values
    return Regs(rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp, *rest)
