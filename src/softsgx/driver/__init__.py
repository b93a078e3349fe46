"""Linux's view of SGX: the devices, an enclave's file, mappings and faults."""

from softsgx.driver.device import File, Isgx, Provision, nodes
from softsgx.driver.driver import Driver
from softsgx.driver.encl import Encl
from softsgx.driver.epc.section import add_spare
from softsgx.driver.errnos import ERESTARTSYS
from softsgx.driver.fault import Abort, Resolved, Signal
from softsgx.driver.mapping import Extent
from softsgx.driver.mm import Mm, Vma
from softsgx.driver.protocols import EnclMemory, Task
from softsgx.driver.user_linear import UserLinear

__all__ = [
    "ERESTARTSYS",
    "Abort",
    "Driver",
    "Encl",
    "EnclMemory",
    "Extent",
    "File",
    "Isgx",
    "Mm",
    "Provision",
    "Resolved",
    "Signal",
    "Task",
    "UserLinear",
    "Vma",
    "add_spare",
    "nodes",
]
