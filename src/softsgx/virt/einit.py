"""EINIT that left the guest: judged by the host, run with the guest's launch key.

KVM judges nobody; the host's lists are ours.  The leaf's error code is the guest's RAX
and ZF, as without anybody between.
"""

from dataclasses import dataclass
from typing import Protocol

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.einittoken import VALID, Einittoken
from softsgx.arch.errors import SgxError
from softsgx.arch.secs import AttributeFlags
from softsgx.arch.sigstruct import Sigstruct
from softsgx.encls.operand import check_aligned, set_result
from softsgx.machine.machine import Machine
from softsgx.machine.processor import Processor
from softsgx.virt.operands import RunLeaf, run_with


@dataclass(frozen=True, kw_only=True)
class Launch:
    """An enclave that wants to launch in a guest, whose hash is *launchkey*.

    *attributes*: its SECS'; *token*: a valid one, if it brought one.
    """

    sigstruct: Sigstruct
    attributes: AttributeFlags
    token: Einittoken | None
    launchkey: bytes


class Judge(Protocol):
    """Who decides for the host about EINIT in a guest."""

    def judge(self, launch: Launch) -> SgxError | None:
        """Return the error code of a refusal; None: the leaf runs."""

    def failed(self, launch: Launch, code: SgxError) -> None:
        """Hear that the leaf refused an enclave all the same."""


def handle_einit(
    machine: Machine,
    lp: Processor,
    launchkey: bytes,
    run: RunLeaf,
    judge: Judge | None,
) -> None:
    """Ask *judge*; run the leaf with the operands that were judged.

    *launchkey*, 32 bytes, is loaded into a package that can have another.
    """
    rbx, rdx = lp.regs.rbx, lp.regs.rdx
    check_aligned(rbx, PAGE_SIZE, "RBX")
    check_aligned(lp.regs.rcx, PAGE_SIZE, "RCX")
    check_aligned(rdx, Einittoken.ALIGN, "RDX")
    sigstruct = lp.memory.load(rbx, Sigstruct.SIZE)
    token = lp.memory.load(rdx, Einittoken.SIZE)
    launch = _launch(machine, lp, sigstruct, token, launchkey) if judge else None
    refusal = judge.judge(launch) if judge and launch else None
    if refusal is not None:
        set_result(lp, refusal)
        return
    machine.package.lepubkeyhash = launchkey
    run_with(lp, {rbx: sigstruct, rdx: token}, run)
    if judge and launch and lp.regs.rax:
        judge.failed(launch, SgxError(lp.regs.rax))


def _launch(
    machine: Machine, lp: Processor, sigstruct: bytes, token: bytes, launchkey: bytes
) -> Launch | None:
    """Return what is to be judged; None: RCX has no SECS, as the leaf will say."""
    enclave = machine.enclaves.get(lp.memory.page(lp.regs.rcx))
    if enclave is None:
        return None
    given = Einittoken.from_bytes(token)
    return Launch(
        sigstruct=Sigstruct.from_bytes(sigstruct),
        attributes=enclave.secs.attributes.flags,
        token=given if given.valid & VALID else None,
        launchkey=launchkey,
    )
