"""A machine: one package with its EPC, and the enclaves in it."""

from dataclasses import dataclass, field, replace

from softsgx.machine.enclave import EnclaveState
from softsgx.machine.epc import Epc
from softsgx.machine.epcm import Epcm, EpcmEntry
from softsgx.machine.measurement import LayOut, Measurement, lay_out
from softsgx.machine.model import Model
from softsgx.machine.package import Package
from softsgx.machine.trace import Sink, discard


@dataclass(frozen=True)
class EnclaveSnapshot:
    """One enclave, frozen for comparison; *mrenclave* is empty when EINIT was done."""

    state: tuple[object, ...]
    mrenclave: bytes
    inside: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Snapshot:
    """Everything of a machine that a leaf can change, frozen for comparison."""

    epc: dict[int, bytes]
    epcm: dict[int, EpcmEntry]
    enclaves: dict[int, EnclaveSnapshot]
    lepubkeyhash: bytes
    next_eid: int
    version: int
    measuring: dict[int, bytes]


@dataclass
class Eids:
    """CR_NEXT_EID: the EID of the next enclave, which no other of a package gets."""

    next: int = 1

    def take(self) -> int:
        """Return an EID, once."""
        self.next += 1
        return self.next - 1


@dataclass
class Machine:
    """All state of one package; *enclaves* is keyed by the SECS' EPC page.

    *lay_out* is how runs of pages are laid out for the hash: changes speed, no byte.
    *measuring* has, by EID, the running hashes of those whose SECS was evicted.
    """

    model: Model
    package: Package
    epc: Epc
    epcm: Epcm = field(default_factory=Epcm)
    enclaves: dict[int, EnclaveState] = field(default_factory=dict)
    trace: Sink = discard
    lay_out: LayOut = lay_out
    eids: Eids = field(default_factory=Eids)
    measuring: dict[int, Measurement] = field(default_factory=dict)

    @classmethod
    def of(cls, model: Model, package: Package) -> "Machine":
        """Return a machine whose EPC is the model's, all of it free."""
        return cls(model, package, Epc(model.epc_pages))

    def with_package(self, package: Package) -> "Machine":
        """Return the same EPC and enclaves, whose keys are those of another package."""
        return replace(self, package=package, epcm=self.epcm.shared())

    def snapshot(self) -> Snapshot:
        """Return a copy of the state, for comparison only."""
        enclaves = {page: _freeze(state) for page, state in self.enclaves.items()}
        return Snapshot(
            self.epc.contents(),
            self.epcm.contents(),
            enclaves,
            self.package.lepubkeyhash,
            self.eids.next,
            self.package.paging.version,
            {eid: running.digest() for eid, running in self.measuring.items()},
        )


def _freeze(enclave: EnclaveState) -> EnclaveSnapshot:
    return EnclaveSnapshot(
        (
            enclave.secs,
            enclave.eid,
            enclave.children,
            enclave.isvfamilyid,
            enclave.isvextprodid,
            enclave.virtchildcnt,
            enclave.enclavecontext,
            enclave.epoch,
            enclave.measurement.blocks,
        ),
        b"" if enclave.is_initialized() else enclave.measurement.digest(),
        tuple(sorted(enclave.inside.items())),
    )
