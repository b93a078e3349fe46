"""/dev/isgx, of the driver outside of Linux: its ioctls, each in that driver's order.

An enclave is the mapping that it was made in, and is found by an address.
"""

import errno
from collections.abc import Callable

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.einittoken import Einittoken
from softsgx.arch.faults import Fault
from softsgx.arch.secinfo import PageType, Secinfo
from softsgx.arch.secs import Secs
from softsgx.arch.sigstruct import Sigstruct
from softsgx.driver.build import create, einit
from softsgx.driver.core import Core
from softsgx.driver.encl import Encl, EnclPage
from softsgx.driver.errnos import refuse
from softsgx.driver.gate import REFUSAL_ERRNOS, check_init, check_load, request_of
from softsgx.driver.isgx_checks import check_secinfo, check_secs, check_tcs
from softsgx.driver.isgx_uapi import (
    SGX_IOC_ENCLAVE_ADD_PAGE,
    SGX_IOC_ENCLAVE_CREATE,
    SGX_IOC_ENCLAVE_EMODPR,
    SGX_IOC_ENCLAVE_INIT,
    SGX_IOC_ENCLAVE_MKTCS,
    SGX_IOC_ENCLAVE_NOTIFY_ACCEPT,
    SGX_IOC_ENCLAVE_PAGE_REMOVE,
    SGX_IOC_ENCLAVE_TRIM,
    sgx_enclave_add_page,
    sgx_enclave_create,
    sgx_enclave_init,
)
from softsgx.driver.mm import Mm, Vma
from softsgx.driver.protocols import Task
from softsgx.driver.uapi import PROT_RWX, TASK_SIZE

Handler = Callable[[Core, Task, bytes], int]

_SIZE_SHIFT, _SIZE_MASK = 16, 0x3FFF
"""Where the number of an ioctl has the size of its structure, in bytes."""

_ALL_CHUNKS = 0xFFFF
_CHUNK = 256


class _ShortError(Exception):
    """Bytes of the program's that could not be copied: the ioctl returns how many."""

    def __init__(self, left: int):
        super().__init__(left)
        self.left = left


def ioctl(core: Core, task: Task, cmd: int, arg: int) -> int:
    """Run an ioctl and return its value: 0, an SGX error code, or bytes not copied."""
    handler = IOCTLS.get(cmd & 0xFFFF_FFFF)
    if handler is None:
        raise refuse(errno.ENOTTY, f"ioctl {cmd:#x}")
    raw = task.copy_from_user(arg, cmd >> _SIZE_SHIFT & _SIZE_MASK)
    try:
        return handler(core, task, raw)
    except _ShortError as short:
        return short.left


def _copied(task: Task, addr: int, size: int) -> bytes:
    """Copy in; where that driver forgot to say EFAULT, we must not say it either."""
    if addr + size > TASK_SIZE:
        raise _ShortError(size)
    try:
        return task.copy_from_user(addr, size)
    except OSError:
        raise _ShortError(_left(task, addr, size)) from None


def _left(task: Task, addr: int, size: int) -> int:
    """Return how many of some bytes come after those that can be read."""
    at, end = addr, addr + size
    while at < end:
        step = min(end, (at // PAGE_SIZE + 1) * PAGE_SIZE) - at
        try:
            task.copy_from_user(at, step)
        except OSError:
            break
        at += step
    return end - at


def _find(mm: Mm, addr: int) -> Encl:
    """Return the enclave at an address: EINVAL if none is mapped, ENOENT if unmade."""
    vma = None if addr % PAGE_SIZE else mm.find(addr)
    if vma is None or not vma.encl.by_address:
        raise refuse(errno.EINVAL, f"no enclave at {addr:#x}")
    if not vma.encl.created:
        raise refuse(errno.ENOENT, f"the mapping at {addr:#x} is no enclave yet")
    return vma.encl


# ---- CREATE ----


def ioc_create(core: Core, task: Task, arg: bytes) -> int:
    """SGX_IOC_ENCLAVE_CREATE: ECREATE, in a mapping that is just its range."""
    params = sgx_enclave_create.from_bytes(arg)
    raw = _copied(task, params.src, Secs.SIZE)
    secs = Secs.from_bytes(raw)
    check_secs(core.cpu.model, secs, raw)
    encl = Encl(task.new_memory(), by_address=True)
    try:
        create(core, encl, secs, raw)
        vma = _range_of(task.mm, secs)
    except Fault as fault:
        encl.memory.close()
        raise refuse(errno.EFAULT, f"ECREATE: {fault}") from fault
    except OSError:
        core.release(encl)
        encl.memory.close()
        raise
    task.mm.give(vma, encl)
    return 0


def _range_of(mm: Mm, secs: Secs) -> Vma:
    vma = mm.find(secs.baseaddr)
    end = secs.baseaddr + secs.size
    if vma is None or not vma.encl.by_address or vma.encl.created:
        raise refuse(errno.EINVAL, f"no free mapping at {secs.baseaddr:#x}")
    if (vma.start, vma.end) != (secs.baseaddr, end):
        raise refuse(errno.EINVAL, f"the mapping ends at {vma.end:#x}, not {end:#x}")
    return vma


# ---- ADD_PAGE ----


def ioc_add_page(core: Core, task: Task, arg: bytes) -> int:
    """SGX_IOC_ENCLAVE_ADD_PAGE: EADD, and EEXTEND of what *mrmask* says, at once."""
    params = sgx_enclave_add_page.from_bytes(arg)
    encl = _find(task.mm, params.addr)
    secinfo = task.copy_from_user(params.secinfo, Secinfo.SIZE)
    data = _copied(task, params.src, PAGE_SIZE)
    flags = check_secinfo(secinfo)
    if flags.page_type == PageType.TCS:
        check_tcs(data, encl.size)
    prot = int(flags) & PROT_RWX if flags.page_type == PageType.REG else 0
    measured = params.mrmask == _ALL_CHUNKS
    check_load(core.gate, task, (params.src, 1), prot, measured=measured)
    # Others had their turn while the program's memory was looked at.
    encl = _find(task.mm, params.addr)
    if not core.fitting(encl, 1):
        raise refuse(errno.ENOMEM, "the EPC is full")
    if encl.initialized or encl.torn:
        raise refuse(errno.EINVAL, "not between CREATE and INIT, or unmapped in part")
    if encl.page(params.addr) is not None:
        raise refuse(errno.EEXIST, f"{params.addr:#x} exists")
    _add(core, encl, params, data, secinfo)
    return 0


def _add(
    core: Core, encl: Encl, params: sgx_enclave_add_page, data: bytes, secinfo: bytes
) -> None:
    """EADD cannot fault here, nor room be missing: that has been refused."""
    offset = params.addr - encl.base
    core.grow(encl, 1)
    page = core.section.alloc()
    core.machine.epc.place(page, 1, encl.view, offset)
    encl.view[offset : offset + PAGE_SIZE] = data
    whole = params.mrmask == _ALL_CHUNKS
    run = (page, 1)
    core.kernel.eadd_run(encl.secs, run, params.addr, secinfo, measured=whole)
    for chunk in range(0 if whole else PAGE_SIZE // _CHUNK):
        if params.mrmask >> chunk & 1:
            core.kernel.eextend(encl.secs, page, chunk * _CHUNK)
    page_type = Secinfo.from_bytes(secinfo).flags.page_type
    added = EnclPage(page, page_type, PROT_RWX, in_tables=True)
    encl.set_run(offset // PAGE_SIZE, 1, added)
    encl.secs_child_cnt += 1


# ---- INIT ----


def ioc_init(core: Core, task: Task, arg: bytes) -> int:
    """SGX_IOC_ENCLAVE_INIT: what EINIT says; 0 for what is initialized already."""
    params = sgx_enclave_init.from_bytes(arg)
    raw = _copied(task, params.sigstruct, Sigstruct.SIZE)
    token = _copied(task, params.einittoken, Einittoken.SIZE)
    if _find(task.mm, params.addr).initialized:
        return 0
    # From here on only copies count: the owner judges the bytes that EINIT gets.
    check_init(core.gate, task, params.sigstruct)
    encl = _find(task.mm, params.addr)
    if encl.initialized:
        return 0
    request = request_of(encl, Sigstruct.from_bytes(raw), token)
    decision = core.gate.judge(task, request)
    now = _find(task.mm, params.addr)
    if now is not encl:
        raise refuse(errno.EINVAL, "another enclave is there by now")
    if now.initialized:
        return 0
    if decision.refusal is not None:
        raise refuse(REFUSAL_ERRNOS[decision.refusal], decision.reason)
    try:
        code = einit(core, encl, task, raw, token)
    except Fault as fault:
        core.gate.failed(task, request, decision, f"EINIT: {fault}")
        raise refuse(errno.EFAULT, f"EINIT: {fault}") from fault
    if code:
        core.gate.failed(task, request, decision, f"SGX_{code.name}")
        return int(code)
    encl.is_dynamic = decision.is_dynamic
    encl.initialized = True
    return 0


# ---- SGX2 ----


def ioc_sgx2(core: Core, task: Task, arg: bytes) -> int:
    """Refuse what needs SGX2, as that driver does on a processor without it."""
    del core, task, arg
    raise refuse(errno.ENOSYS, "/dev/isgx has no SGX2 here")


IOCTLS: dict[int, Handler] = {
    SGX_IOC_ENCLAVE_CREATE: ioc_create,
    SGX_IOC_ENCLAVE_ADD_PAGE: ioc_add_page,
    SGX_IOC_ENCLAVE_INIT: ioc_init,
    SGX_IOC_ENCLAVE_EMODPR: ioc_sgx2,
    SGX_IOC_ENCLAVE_MKTCS: ioc_sgx2,
    SGX_IOC_ENCLAVE_TRIM: ioc_sgx2,
    SGX_IOC_ENCLAVE_NOTIFY_ACCEPT: ioc_sgx2,
    SGX_IOC_ENCLAVE_PAGE_REMOVE: ioc_sgx2,
}
