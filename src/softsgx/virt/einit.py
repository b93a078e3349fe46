"""EINIT that left the guest: run with the guest's launch key loaded.

The leaf's error code is the guest's RAX and ZF, as without anybody between.
"""

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.einittoken import Einittoken
from softsgx.encls.operand import check_aligned
from softsgx.machine.package import Package
from softsgx.machine.processor import Processor
from softsgx.virt.ecreate import Run


def handle_einit(lp: Processor, package: Package, launchkey: bytes, run: Run) -> None:
    """Load the guest's *launchkey*, 32 bytes, into the package, and run the leaf."""
    check_aligned(lp.regs.rbx, PAGE_SIZE, "RBX")
    check_aligned(lp.regs.rcx, PAGE_SIZE, "RCX")
    check_aligned(lp.regs.rdx, Einittoken.ALIGN, "RDX")
    package.lepubkeyhash = launchkey
    run(lp)
