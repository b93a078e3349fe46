"""What both devices build enclaves with: ECREATE, and EINIT while events interrupt it.

A Fault is the processor's, for the device to name by an errno of its own.
"""

import errno

from softsgx.arch.addr import PAGE_SHIFT, PAGE_SIZE
from softsgx.arch.errors import SgxError
from softsgx.arch.faults import Fault
from softsgx.arch.secs import AttributeFlags, Secs
from softsgx.driver.core import Core
from softsgx.driver.encl import Encl
from softsgx.driver.epc.account import Scarce
from softsgx.driver.errnos import ERESTARTSYS, refuse
from softsgx.driver.protocols import Task

EINIT_ROUNDS = 50
EINIT_SPINS = 20
"""How often EINIT is tried while events interrupt it; a signal ends a round."""

MAX_BACKING_BYTES = (1 << 63) - 1
"""The largest file that Linux can make for what it evicts."""


def create(core: Core, encl: Encl, secs: Secs, raw: bytes) -> None:
    """Give an enclave its SECS and its memory; Fault or OSError: it stays as it was."""
    encl.account = core.account()
    va_pages = core.grow(encl, 1)
    try:
        _check_backing(secs.size)
        page = core.alloc(listed=False)
    except OSError:
        core.shrink(encl, 1, va_pages)
        raise
    try:
        core.kernel.ecreate(page, raw)
        _make_memory(encl, secs.size)
    except (Fault, OSError) as failure:
        if isinstance(failure, OSError):
            core.kernel.eremove(page)
        core.section.give(page)
        core.shrink(encl, 1, va_pages)
        raise
    encl.secs = page
    encl.view = encl.memory.view()
    encl.base, encl.size = secs.baseaddr, secs.size
    encl.ssaframesize = secs.ssaframesize
    encl.attributes = int(secs.attributes.flags)
    encl.xfrm = secs.attributes.xfrm
    encl.debug = bool(encl.attributes & AttributeFlags.DEBUG)
    encl.created = True
    core.by_secs[page] = encl
    encl.eid = core.machine.enclaves[page].eid
    core.enclaves[encl.eid] = encl


def _make_memory(encl: Encl, size: int) -> None:
    """Let the enclave's memory be mapped here, where all enclaves have their place."""
    encl.account.take(Scarce.ADDRESSES, size >> PAGE_SHIFT)
    try:
        encl.memory.resize(size)
    except OSError:
        encl.account.give(Scarce.ADDRESSES, size >> PAGE_SHIFT)
        raise


def _check_backing(size: int) -> None:
    backing = size + PAGE_SIZE
    if backing + (backing >> 5) > MAX_BACKING_BYTES:
        raise refuse(errno.EINVAL, f"SECS.SIZE {size:#x} is too large for a file")


def einit(
    core: Core, encl: Encl, task: Task, sigstruct: bytes, token: bytes
) -> SgxError | None:
    """Return the error code of EINIT, None for success; ERESTARTSYS, or Fault."""
    code = 0
    for spin in range(1, EINIT_ROUNDS * EINIT_SPINS + 1):
        code = core.kernel.einit(encl.secs, sigstruct, token)
        if code != SgxError.UNMASKED_EVENT:
            break
        if spin % EINIT_SPINS == 0 and task.signal_pending():
            raise refuse(ERESTARTSYS, "signal")
    if code:
        return SgxError(code)
    encl.measured = core.machine.enclaves[encl.secs].secs
    return None
