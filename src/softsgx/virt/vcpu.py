"""A guest's processor: what its software finds, and what its ENCLS comes to.

Most leaves run on the platform's machine without anybody looking.  ENCLU always does,
so that a guest's keys are the package's.
"""

from dataclasses import dataclass
from functools import partial

from softsgx import encls
from softsgx.arch.faults import Fault
from softsgx.arch.leaves import Encls
from softsgx.arch.msr import Msr
from softsgx.arch.secs import Secs
from softsgx.machine.machine import Machine
from softsgx.machine.package import OPTED_IN, OPTED_IN_FLEXIBLE
from softsgx.machine.processor import Processor
from softsgx.virt.cpuid import guest_model
from softsgx.virt.ecreate import check_secs, handle_ecreate
from softsgx.virt.einit import Judge, handle_einit
from softsgx.virt.exiting import Situation, exiting_bitmap, fault_of, is_exiting
from softsgx.virt.faults import reflected
from softsgx.virt.kvm import Kvm
from softsgx.virt.msrs import VirtualMsrs


@dataclass(frozen=True, kw_only=True)
class Setup:
    """How a guest's VMM and its firmware set its processor up.

    *launchkey*: the hash that the firmware writes and locks, 32 bytes; None: none.
    *is_writable*: the guest's software may change the hash.
    """

    epc_bytes: int
    kvm: Kvm = Kvm.LINUX_6_12
    launchkey: bytes | None = None
    is_writable: bool = True


class Vcpu:
    """The processor of a guest on *host*; *provisioning*: KVM_CAP_SGX_ATTRIBUTE is on.

    *judge* decides about EINIT; without one it is plain KVM.  It has `model` and
    `package` where software looks at a Machine's.
    """

    def __init__(
        self,
        host: Machine,
        setup: Setup,
        *,
        provisioning: bool = False,
        judge: Judge | None = None,
    ):
        self._setup, self._provisioning = setup, provisioning
        self._judge = judge
        control = host.package.feature_control
        self._host_lc = host.model.flc and not ~control & OPTED_IN_FLEXIBLE
        self.model = guest_model(
            setup.kvm,
            host.model,
            setup.epc_bytes,
            provisioning=provisioning,
            has_lc=self._host_lc,
        )
        self.package = VirtualMsrs(
            has_sgx=self.model.sgx1,
            has_lc=self._host_lc,
            fixed=None if self._host_lc else host.package.lepubkeyhash,
        )

    def reset(self) -> None:
        """Reset the processor, and let the firmware do its part: SGX on, locked."""
        self.package.reset()
        key = self._setup.launchkey
        for word in range(4 if key is not None and self._host_lc else 0):
            value = int.from_bytes((key or b"")[word * 8 : word * 8 + 8], "little")
            self.package.wrmsr(Msr.IA32_SGXLEPUBKEYHASH0 + word, value)
        control = OPTED_IN
        if self._host_lc and self._setup.is_writable:
            control = OPTED_IN_FLEXIBLE
        self.package.wrmsr(Msr.IA32_FEATURE_CONTROL, control)

    def execute(self, machine: Machine, lp: Processor, leaf: int) -> None:
        """Run ENCLS in the guest, with *leaf* in EAX and the operands in lp.regs."""
        leaf &= 0xFFFF_FFFF
        situation = Situation(
            guest=self.model,
            feature_control=self.package.feature_control,
            provisioning=self._provisioning,
        )
        traps_einit = self._host_lc or self._judge is not None
        bitmap = exiting_bitmap(situation, machine.model, traps_einit=traps_einit)
        if not is_exiting(bitmap, leaf):
            encls.execute(machine, lp, leaf)
            return
        fault = fault_of(self._setup.kvm, leaf, situation)
        if fault is not None:
            raise fault
        if leaf == Encls.ECREATE:
            handle_ecreate(lp, self._check_secs, partial(self._run, machine))
        else:
            key = self.package.lepubkeyhash
            handle_einit(machine, lp, key, partial(self._run, machine), self._judge)

    def _check_secs(self, secs: Secs) -> None:
        kvm, leave = self._setup.kvm, self._provisioning
        check_secs(kvm, self.model, secs, provisioning=leave)

    def _run(self, machine: Machine, lp: Processor) -> None:
        try:
            encls.execute(machine, lp, lp.regs.rax)
        except Fault as fault:
            secs = lp.regs.rcx
            raise reflected(fault, secs, self.model, machine.model) from fault
