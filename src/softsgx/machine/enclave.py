"""What the package keeps of one enclave."""

from dataclasses import dataclass, field

from softsgx.arch.secs import AttributeFlags, Secs
from softsgx.machine.measurement import Measurement


@dataclass
class EnclaveState:
    """One SECS: its fields, measurement, children, and who is inside.

    *secs* is replaced on change; what else a SECS holds has no place in its table.
    *children* are pages in the EPC; *virtchildcnt* counts those that a monitor evicted.
    """

    secs: Secs
    measurement: Measurement
    eid: int
    children: int = 0
    isvfamilyid: bytes = bytes(16)
    isvextprodid: bytes = bytes(16)
    virtchildcnt: int = 0
    enclavecontext: int = 0
    epoch: int = 0
    inside: dict[int, int] = field(default_factory=dict)

    def is_initialized(self) -> bool:
        """Say whether EINIT has been done; the measurement has no use from then on."""
        return bool(self.secs.attributes.flags & AttributeFlags.INIT)

    def enter(self, processor: int) -> None:
        """Note that a logical processor enters in the present epoch."""
        self.inside[processor] = self.epoch

    def leave(self, processor: int) -> None:
        """Note that a logical processor left."""
        self.inside.pop(processor, None)

    def is_tracking(self) -> bool:
        """Say whether the tracking cycle that ETRACK began is still going on."""
        return any(epoch < self.epoch for epoch in self.inside.values())

    def is_tracked(self, epoch: int) -> bool:
        """Say whether all who entered up to *epoch* have left since: no stale TLB."""
        return epoch < self.epoch and all(
            entered > epoch for entered in self.inside.values()
        )

    def contains(self, address: int) -> bool:
        """Say whether a linear address lies in ELRANGE."""
        return self.secs.baseaddr <= address < self.secs.baseaddr + self.secs.size
