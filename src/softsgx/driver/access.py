"""A debugger's access to an enclave: ptrace and /proc/pid/mem."""

import errno

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.faults import Fault
from softsgx.arch.leaves import Encls
from softsgx.driver.core import Core
from softsgx.driver.errnos import LEAF_ERRNOS, refuse
from softsgx.driver.mm import Vma
from softsgx.driver.paging.pages import load_page

WORD = 8
"""Bytes that EDBGRD and EDBGWR move."""


def access(core: Core, vma: Vma, address: int, size: int, data: bytes = b"") -> bytes:
    """Read *size* bytes of a debug enclave, or write *data* over them first.

    EFAULT: not a debug enclave, or no page; EIO: the processor refuses.
    """
    if not vma.encl.debug:
        raise refuse(errno.EFAULT, "not a debug enclave")
    out = bytearray()
    while len(out) < size:
        at = address + len(out)
        skip = at % WORD
        count = min(WORD - skip, size - len(out))
        word = _access_word(core, vma, at - skip, skip, data[len(out) :][:count])
        out += word[skip : skip + count]
    return bytes(out)


def _access_word(core: Core, vma: Vma, at: int, skip: int, data: bytes) -> bytes:
    page = vma.encl.page(at)
    if page is None or vma.prot & ~page.vm_max_prot:
        raise refuse(errno.EFAULT, f"no page at {at:#x} for this mapping")
    epc_page = load_page(core, vma.encl, vma.encl.index(at)).epc_page
    offset = at % PAGE_SIZE
    leaf = Encls.EDBGRD
    try:
        word = core.kernel.edbgrd(epc_page, offset).to_bytes(WORD, "little")
        if data:
            leaf = Encls.EDBGWR
            word = word[:skip] + data + word[skip + len(data) :]
            core.kernel.edbgwr(epc_page, offset, int.from_bytes(word, "little"))
    except Fault as fault:
        raise refuse(LEAF_ERRNOS[leaf].fault, f"{leaf.name}: {fault}") from fault
    return word
