"""Sites, where ENCLU or CPUID stood: who replaced it, and what is there now.

In enclave memory the byte is the enclave page's own; the driver's view of it and
MRENCLAVE are as they were.  In a program's text it is a private copy of the page.
"""

import errno

from softsgx.arch.addr import PAGE_SIZE
from softsgx.driver.driver import Driver
from softsgx.driver.encl import Encl
from softsgx.driver.mapping import granted
from softsgx.native import lib
from softsgx.native.abi import Trap
from softsgx.runner.code.enclave_code import EnclaveCode
from softsgx.runner.code.host_code import CPUID_BYTES, HLT, stands_in_file
from softsgx.runner.task.process import UserTask
from softsgx.runner.task.threads import read_proc

ENCLU, CPUID, WINDOW, STATE = 1, 2, 3, 4
"""Kinds of breakpoints.  WINDOW ends what `enclave_code` calls one; STATE stands for
XGETBV or one of the XSAVE family in an enclave that has less state than the machine."""
_BYTES = {ENCLU: b"\x0f\x01\xd7", CPUID: CPUID_BYTES}


class Sites:
    """All places in the tree where softsgx replaced an instruction."""

    def __init__(self, driver: Driver, *, cpuid: bool):
        self._driver = driver
        self._xcr0 = lib.xcr0()
        self.code = EnclaveCode(
            driver.machine.epc,
            driver.at_hand,
            cpuid=cpuid,
            is_narrow=self._is_narrow,
        )

    def patch(self, task: UserTask, address: int, kind: int) -> None:
        """Replace an instruction that trapped; OSError if it cannot."""
        expected = _BYTES.get(kind)
        if expected is None or address % PAGE_SIZE > PAGE_SIZE - len(expected):
            raise OSError(errno.EINVAL, "not a site")
        if _is_traced(task.tid):
            raise OSError(errno.EBUSY, "a debugger is attached")
        vma = task.mm.find(address)
        if vma is not None:
            self.code.patch_enclu(vma.encl, address, expected)
            return
        if task.copy_from_user(address, len(expected)) != expected:
            raise OSError(errno.EINVAL, "something else stands there")
        task.caller.poke(address, HLT)
        task.process.sites[address] = kind

    def is_site(self, task: UserTask, address: int, kind: int) -> int:
        """Say whether what trapped is a site of ours: 0 or 1, or XFRM for STATE."""
        vma = task.mm.find(address)
        if kind == STATE:
            is_ours = vma and self.code.is_site(vma.encl, address, forbidden=False)
            return vma.encl.xfrm if vma and is_ours else 0
        if vma is not None and kind == WINDOW:
            return self.code.ends_window(vma.encl, address)
        if kind not in _BYTES:
            return False
        if vma is not None:
            return self.code.is_site(vma.encl, address, forbidden=kind == CPUID)
        known = task.process.sites.get(address)
        if known is None:
            # A copy of a process that put it there: its file knows what it was.
            with task.caller.aside():
                return stands_in_file(task.tid, address, _BYTES[kind])
        return known == kind

    def trap(self, task: UserTask, address: int) -> Trap:
        """Judge a breakpoint that a thread met inside an enclave.  NotYetError."""
        vma = task.mm.find(address)
        if vma is None:
            return Trap.FOREIGN
        self._bring(vma.encl, address)
        return self.code.trap(vma.encl, address, task.tid)

    def resumed(self, task: UserTask, address: int) -> None:
        """Take note that a thread resumes at what is forbidden.  NotYetError."""
        vma = task.mm.find(address)
        if vma is not None:
            self._bring(vma.encl, address)
            self.code.resumed(vma.encl, address)

    def _bring(self, encl: Encl, address: int) -> None:
        """Bring the pages that have bytes of a breakpoint: a file may be slow."""
        for place in self.code.places(encl, address):
            self._driver.resident(encl, place)

    def seen(self, task: UserTask, address: int, size: int) -> bytes:
        """Return what code has there, sites as they are; its pages come for it.

        OSError(EFAULT): there is nothing that an enclave may read or execute.
        NotYetError.
        """
        end, out = address + size, b""
        while (at := address + len(out)) < end:
            vma = task.mm.find(at)
            page = self._driver.resident(vma.encl, at) if vma else None
            self._driver.absorb()
            if not vma or not page or not granted(vma.encl.word(at)):
                raise OSError(errno.EFAULT, "no code of an enclave")
            here = at % PAGE_SIZE
            cell = self._driver.machine.epc.page(page.epc_page)
            out += bytes(cell[here : here + end - at])
        return out

    def forget(self, encl: Encl) -> None:
        """Drop what is known of an enclave that is gone."""
        self.code.forget(encl)

    def _is_narrow(self, encl: Encl) -> bool:
        return encl.created and bool(self._xcr0 & ~encl.xfrm)


def _is_traced(tid: int) -> bool:
    try:
        text = read_proc(f"/proc/{tid}/status")
    except OSError:
        return True
    return "TracerPid:\t0\n" not in text
