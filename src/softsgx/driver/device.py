"""The device nodes that a machine has under Linux, and what an open one is."""

import errno
import os

from softsgx.arch.secs import AttributeFlags
from softsgx.driver.cpu import Cpu
from softsgx.driver.encl import Encl
from softsgx.driver.errnos import refuse
from softsgx.driver.protocols import EnclMemory
from softsgx.machine.package import OPTED_IN, OPTED_IN_FLEXIBLE

ENCLAVE = "sgx_enclave"
PROVISION = "sgx_provision"
VEPC = "sgx_vepc"
ISGX = "isgx"
"""Names under /dev; the last is that of the driver outside of Linux."""


class Provision:
    """An open /dev/sgx_provision: a permission to show, with no operations."""


class Isgx:
    """An open /dev/isgx.  Its enclaves are not its own: they are mappings of it.

    *blank* stands for the enclave of a mapping that has none yet.
    """

    def __init__(self, memory: EnclMemory, mode: int = os.O_RDWR):
        self.blank = Encl(memory, mode, by_address=True)


File = Encl | Provision | Isgx
"""What a descriptor of a node is open on."""


def attributes_of(file: object) -> int:
    """Return the attributes that a descriptor stands for; EINVAL if for none.

    Linux's sgx_set_attribute, by which KVM asks.
    """
    if not isinstance(file, Provision):
        raise refuse(errno.EINVAL, "not /dev/sgx_provision")
    return int(AttributeFlags.PROVISIONKEY)


def nodes(cpu: Cpu) -> tuple[str, ...]:
    """Return the nodes: none without SGX1 and an EPC; Linux's if the hash is its own.

    Where IA32_SGXLEPUBKEYHASH cannot be written Linux has none for enclaves.  isgx is
    there then, unless guests are to have the EPC.
    """
    model, control = cpu.model, cpu.package.feature_control
    if not (model.sgx1 and model.epc_bytes and control & OPTED_IN == OPTED_IN):
        return ()
    flexible = model.flc and control & OPTED_IN_FLEXIBLE == OPTED_IN_FLEXIBLE
    if model.vmx:
        return (ENCLAVE, PROVISION, VEPC) if flexible else (PROVISION, VEPC)
    return (ENCLAVE, PROVISION) if flexible else (ISGX,)
