"""What a kernel before this one left in the EPC is removed before a page is given out.

Linux's ksgxd does so after kexec, with the same two passes.
"""

from softsgx.driver.kernel import Kernel
from softsgx.machine.machine import Machine

PASSES = 2
"""The first removes what belongs to a SECS, the second each SECS."""


def sanitize(machine: Machine, kernel: Kernel) -> int:
    """EREMOVE every EPC page that is in use; return how many there were."""
    for enclave in machine.enclaves.values():
        # No processor came through the kexec in enclave mode.
        enclave.inside.clear()
    dirty = found = sorted(machine.epcm.contents())
    for _ in range(PASSES):
        dirty = [page for page in dirty if kernel.eremove(page)]
    if dirty:
        raise AssertionError(f"EPC pages cannot be sanitized: {dirty}")
    machine.epc.unplace(0, machine.epc.pages)
    machine.epcm.touched.clear()
    return len(found)
