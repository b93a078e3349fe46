"""The ioctls that change pages of a running enclave: restrict, retype, remove.

Linux goes page by page.  Here neighbouring pages that are alike go together: the
leaf runs on the first of them, and what it made of that page is made of the rest.
`tests/driver/test_edmm_runs.py` holds this equal to leaf by leaf.
"""

import errno
from collections.abc import Callable, Iterator
from dataclasses import replace

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.errors import SgxError
from softsgx.arch.faults import Fault, PageFault
from softsgx.arch.layout import Layout
from softsgx.arch.leaves import Encls
from softsgx.arch.secinfo import PageType
from softsgx.driver.core import Core
from softsgx.driver.encl import Encl, EnclPage, Stretch
from softsgx.driver.errnos import LEAF_ERRNOS, refuse
from softsgx.driver.ioctl import check_range, copy_in
from softsgx.driver.paging.pages import load_in_order
from softsgx.driver.protocols import NotYetError, Task
from softsgx.driver.uapi import (
    PROT_READ,
    PROT_RWX,
    PROT_WRITE,
    sgx_enclave_modify_types,
    sgx_enclave_remove_pages,
    sgx_enclave_restrict_permissions,
)

_AT_ONCE = 4096
"""Most pages that are looked at together."""

Change = Callable[[Stretch], None]
"""What is done to a stretch of like pages; raises OSError before it does anything,
for its first page."""


class LeafRefused(OSError):  # noqa: N818 -- a result, not a defect
    """A leaf ended with an SGX error code, which the ioctl reports beside EFAULT."""

    def __init__(self, number: int, code: int):
        super().__init__(number, f"SGX_{SgxError(code).name}")
        self.code = code


def check_sgx2_ready(core: Core, encl: Encl) -> None:
    """Refuse with ENODEV without SGX2, with EINVAL before INIT."""
    if not core.cpu.model.sgx2:
        raise refuse(errno.ENODEV, "the processor has no SGX2")
    if not encl.initialized:
        raise refuse(errno.EINVAL, "not initialized")


def ioc_enclave_restrict_permissions(
    core: Core, encl: Encl, task: Task, arg: int
) -> None:
    """SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS: EMODPR and ETRACK."""
    check_sgx2_ready(core, encl)
    params = copy_in(task, arg, sgx_enclave_restrict_permissions)
    check_range(encl, params.offset, params.length)
    if params.permissions & ~PROT_RWX:
        raise refuse(errno.EINVAL, f"permissions {params.permissions:#x}")
    if params.permissions & PROT_WRITE and not params.permissions & PROT_READ:
        raise refuse(errno.EINVAL, "W without R")
    _check_zero(params.result, params.count)

    def restrict(stretch: Stretch) -> None:
        if stretch.page.type != PageType.REG:
            raise refuse(errno.EINVAL, f"a page of type {stretch.page.type}")
        epc_page = stretch.page.epc_page
        _check(Encls.EMODPR, lambda: core.kernel.emodpr(epc_page, params.permissions))
        _same_for_rest(core, stretch)
        _etrack(core, encl)
        # No access gets through before EACCEPT, whose own puts it there.
        page = replace(stretch.page, in_tables=True)
        encl.set_run(stretch.index, stretch.count, page)

    _report(task, arg, params, *_each_stretch(core, encl, task, params, restrict))


def ioc_enclave_modify_types(core: Core, encl: Encl, task: Task, arg: int) -> None:
    """SGX_IOC_ENCLAVE_MODIFY_TYPES: EMODT and ETRACK, to TCS or TRIM."""
    check_sgx2_ready(core, encl)
    params = copy_in(task, arg, sgx_enclave_modify_types)
    check_range(encl, params.offset, params.length)
    if params.page_type & ~0xFF:
        raise refuse(errno.EINVAL, f"page type {params.page_type:#x}")
    _check_zero(params.result, params.count)

    def modify(stretch: Stretch) -> None:
        cap = _cap_after(stretch.page, params.page_type)
        epc_page = stretch.page.epc_page
        _check(Encls.EMODT, lambda: core.kernel.emodt(epc_page, params.page_type))
        _same_for_rest(core, stretch)
        _etrack(core, encl)
        page = EnclPage(epc_page, params.page_type, cap)
        encl.set_run(stretch.index, stretch.count, page)

    if params.page_type not in (PageType.TCS, PageType.TRIM):
        why = refuse(errno.EINVAL, f"page type {params.page_type}")
        _report(task, arg, params, 0, why)
    _report(task, arg, params, *_each_stretch(core, encl, task, params, modify))


def ioc_enclave_remove_pages(core: Core, encl: Encl, task: Task, arg: int) -> None:
    """SGX_IOC_ENCLAVE_REMOVE_PAGES: EREMOVE of trimmed and accepted pages."""
    check_sgx2_ready(core, encl)
    params = copy_in(task, arg, sgx_enclave_remove_pages)
    check_range(encl, params.offset, params.length)
    _check_zero(params.count)

    def remove(stretch: Stretch) -> None:
        if stretch.page.type != PageType.TRIM:
            raise refuse(errno.EPERM, "not trimmed")
        if not _is_accepted(core, stretch.page.epc_page):
            raise refuse(errno.EPERM, "trimmed and not yet accepted")
        core.remove_stretch(encl, stretch)
        encl.memory.zap(stretch.index * PAGE_SIZE, stretch.count * PAGE_SIZE)
        core.shrink(encl, stretch.count, [])

    _report(task, arg, params, *_each_stretch(core, encl, task, params, remove))


def _check_zero(*outputs: int) -> None:
    if any(outputs):
        raise refuse(errno.EINVAL, "an output field is not zero on input")


def _cap_after(page: EnclPage, page_type: int) -> int:
    """Return the VMA cap of a page that becomes TCS or TRIM, or refuse it."""
    is_reg = page.type == PageType.REG
    if not is_reg and (page.type, page_type) != (PageType.TCS, PageType.TRIM):
        raise refuse(errno.EINVAL, f"from type {page.type} to {page_type}")
    if not is_reg or page_type != PageType.TCS:
        return page.vm_max_prot
    if ~page.vm_max_prot & (PROT_READ | PROT_WRITE):
        raise refuse(errno.EPERM, "a TCS needs a page declared readable and writable")
    return PROT_READ | PROT_WRITE


def _is_accepted(core: Core, epc_page: int) -> bool:
    """Ask the processor: EMODPR finds an accepted TRIM page no page at all (#PF)."""
    try:
        core.kernel.emodpr(epc_page, PROT_RWX)
    except PageFault:
        return True
    except Fault:
        return False
    return False


def _check(leaf: Encls, call: Callable[[], int]) -> None:
    """Run a leaf and turn its fault or code into the ioctl's errno."""
    try:
        code = call()
    except Fault as fault:
        raise refuse(LEAF_ERRNOS[leaf].fault, f"{leaf.name}: {fault}") from fault
    if code:
        raise LeafRefused(LEAF_ERRNOS[leaf].code, code)


def _same_for_rest(core: Core, stretch: Stretch) -> None:
    """Give all pages of a stretch the entry that the leaf gave its first."""
    epcm, first = core.machine.epcm, stretch.page.epc_page
    if stretch.count > 1:
        entry = epcm[first]
        rest = replace(entry, enclaveaddress=entry.enclaveaddress + PAGE_SIZE)
        epcm.fill(first + 1, stretch.count - 1, rest)


def _etrack(core: Core, encl: Encl) -> None:
    """Begin a tracking cycle and end it, bringing out who is inside."""
    if core.kernel.etrack(encl.secs):
        core.kick(encl)
        code = core.kernel.etrack(encl.secs)
        if code:
            raise refuse(LEAF_ERRNOS[Encls.ETRACK].code, f"ETRACK: {code}")
    core.kick(encl)


def _each_stretch(
    core: Core, encl: Encl, task: Task, params: Layout, change: Change
) -> tuple[int, OSError | None]:
    """Change page by page; return the bytes done and what stopped it."""
    ranged = vars(params)
    index, total = (ranged[key] // PAGE_SIZE for key in ("offset", "length"))
    done = 0
    core.absorb()
    for stretch in _resident(core, encl, task, (index, total)):
        if stretch.page.type == PageType.SECS:
            return done, refuse(errno.EFAULT, f"no page {stretch.index:#x}")
        if stretch.page.evicted:
            return done, refuse(errno.EFAULT, f"page {stretch.index:#x} is lost")
        try:
            change(stretch)
        except OSError as failure:
            return done, failure
        done += stretch.count * PAGE_SIZE
    return done, None


def _resident(
    core: Core, encl: Encl, task: Task, run: tuple[int, int]
) -> Iterator[Stretch]:
    """Cut a range into stretches; pages that are out come back in their turn.

    One that cannot come back is yielded as it is.
    """
    at, end = run[0], sum(run)
    while at < end:
        # Looked at anew each time: a page that comes back may drive others out.
        stretch = next(encl.stretches(at, min(end - at, _AT_ONCE)))
        if stretch.page.evicted:
            try:
                load_in_order(core, encl, at, end)
            except NotYetError as wait:
                task.wait_for(wait.fetch)
                continue
            except OSError:
                stretch = replace(stretch, count=1)  # as it is
            else:
                continue
        yield stretch
        at += stretch.count


def _report(
    task: Task, arg: int, params: Layout, done: int, failure: OSError | None
) -> None:
    """Copy the structure out with count and result, and raise the failure."""
    fields = vars(params) | {"count": done}
    if isinstance(failure, LeafRefused):
        fields["result"] = failure.code
    task.copy_to_user(arg, bytes(type(params)(**fields)))
    if failure is not None:
        raise failure
