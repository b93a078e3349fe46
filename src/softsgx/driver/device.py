"""The device nodes that a machine has under Linux."""

from softsgx.machine.machine import Machine
from softsgx.machine.package import OPTED_IN_FLEXIBLE

ENCLAVE = "sgx_enclave"
PROVISION = "sgx_provision"
"""Names under /dev."""


class Provision:
    """An open /dev/sgx_provision: a permission to show, with no operations."""


def nodes(machine: Machine) -> tuple[str, ...]:
    """Return the nodes: none without SGX1, an EPC and flexible launch control."""
    model, control = machine.model, machine.package.feature_control
    flexible = model.flc and control & OPTED_IN_FLEXIBLE == OPTED_IN_FLEXIBLE
    if not (model.sgx1 and flexible and model.epc_bytes):
        return ()
    return (ENCLAVE, PROVISION)
