"""What a kernel before this one left in the EPC is removed before a page is given out.

Linux's ksgxd does so after kexec, with the same two passes.
"""

from itertools import chain

from softsgx.driver.epc.section import Section
from softsgx.driver.kernel import Kernel
from softsgx.machine.machine import Machine

PASSES = 2
"""The first removes what belongs to a SECS, the second each SECS."""


def sanitize(machine: Machine, kernel: Kernel, section: Section) -> int:
    """EREMOVE a section's pages that are in use; return how many there were."""
    used = (machine.epcm.used(first, count) for first, count in section.places)
    dirty = found = list(chain.from_iterable(used))
    for page in found:
        if page in machine.enclaves:
            # No processor came through the kexec in enclave mode.
            machine.enclaves[page].inside.clear()
    for _ in range(PASSES):
        dirty = [page for page in dirty if kernel.eremove(page)]
    if dirty:
        raise AssertionError(f"EPC pages cannot be sanitized: {dirty}")
    for first, count in section.places:
        machine.epc.unplace(first, count)
    machine.epcm.touched.clear()
    return len(found)
