"""Linux's view of SGX: the devices, an enclave's file, mappings and faults."""

from softsgx.driver.driver import Driver

__all__ = ["Driver"]
