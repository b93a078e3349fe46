"""The driver: files, ioctls, mappings and faults of one machine's enclaves.

One thread calls it.  An enclave lives from `open`, or isgx's CREATE, to `release`,
which the caller owes when its last descriptor and its last mapping are gone.
"""

import errno
import os
from collections.abc import Callable
from functools import cached_property

from softsgx.arch.addr import PAGE_SIZE
from softsgx.arch.faults import PFEC_U, PFEC_W
from softsgx.arch.secs import Secs
from softsgx.driver import isgx, mapping, uapi
from softsgx.driver.add_pages import ioc_enclave_add_pages
from softsgx.driver.core import Core
from softsgx.driver.device import File, Isgx, Provision
from softsgx.driver.edmm import (
    ioc_enclave_modify_types,
    ioc_enclave_remove_pages,
    ioc_enclave_restrict_permissions,
)
from softsgx.driver.encl import Encl, EnclPage
from softsgx.driver.errnos import refuse
from softsgx.driver.fault import Outcome, Signal, resolve
from softsgx.driver.gate import check_map, noting_static
from softsgx.driver.init import ioc_enclave_init, ioc_enclave_init_token
from softsgx.driver.ioctl import (
    ioc_enclave_create,
    ioc_enclave_create_backed,
    ioc_enclave_provision,
)
from softsgx.driver.mapping import Extent
from softsgx.driver.mm import Mm
from softsgx.driver.paging.pages import load_page, load_secs
from softsgx.driver.protocols import EnclMemory, NotYetError, Task
from softsgx.driver.vepc import VepcDevice, VepcFile

Handler = Callable[[Core, Encl, Task, int], None]

IOCTLS: dict[int, Handler] = {
    uapi.SGX_IOC_ENCLAVE_CREATE: ioc_enclave_create,
    uapi.SGX_IOC_ENCLAVE_CREATE_BACKED: ioc_enclave_create_backed,
    uapi.SGX_IOC_ENCLAVE_ADD_PAGES: ioc_enclave_add_pages,
    uapi.SGX_IOC_ENCLAVE_INIT: ioc_enclave_init,
    uapi.SGX_IOC_ENCLAVE_INIT_TOKEN: ioc_enclave_init_token,
    uapi.SGX_IOC_ENCLAVE_PROVISION: ioc_enclave_provision,
    uapi.SGX_IOC_ENCLAVE_RESTRICT_PERMISSIONS: ioc_enclave_restrict_permissions,
    uapi.SGX_IOC_ENCLAVE_MODIFY_TYPES: ioc_enclave_modify_types,
    uapi.SGX_IOC_ENCLAVE_REMOVE_PAGES: ioc_enclave_remove_pages,
}


class Driver(Core):
    """The nodes of one machine: Linux's, or isgx."""

    @cached_property
    def vepc(self) -> VepcDevice:
        """What open files of /dev/sgx_vepc have in common."""
        return VepcDevice(self)

    def open(self, memory: EnclMemory, mode: int = os.O_RDWR) -> Encl:
        """Give a new, empty enclave, one for each open file description."""
        return Encl(memory, mode)

    def open_provision(self) -> Provision:
        """Make what open(2) of /dev/sgx_provision gives."""
        return Provision()

    def open_isgx(self, memory: EnclMemory, mode: int = os.O_RDWR) -> Isgx:
        """Make what open(2) of /dev/isgx gives; *memory* stays as it is."""
        return Isgx(memory, mode)

    def release(self, encl: Encl) -> None:
        """End an enclave, or a guest's EPC: all that it has comes back."""
        super().release(encl)
        if isinstance(encl, VepcFile):
            encl.vepc.release()

    def open_vepc(self, memory: EnclMemory, mode: int = os.O_RDWR) -> VepcFile:
        """Make what open(2) of /dev/sgx_vepc gives; *memory* stays as it is."""
        return VepcFile(memory, mode, self.vepc.open(self.account()))

    def ioctl(self, file: File, task: Task, cmd: int, arg: int) -> int:
        """Run an ioctl; OSError has the errno, ERESTARTSYS included.

        Linux's return 0, isgx's may return an SGX error code, vepc's a number.
        """
        if isinstance(file, Provision):
            raise refuse(errno.ENOTTY, "/dev/sgx_provision has no ioctls")
        if isinstance(file, Isgx):
            return isgx.ioctl(self, task, cmd, arg)
        if isinstance(file, VepcFile):
            return file.vepc.ioctl(cmd & 0xFFFF_FFFF, arg)
        if file.busy:
            raise refuse(errno.EBUSY, "another ioctl runs on this enclave")
        handler = IOCTLS.get(cmd & 0xFFFF_FFFF)
        if handler is None:
            raise refuse(errno.ENOTTY, f"ioctl {cmd:#x}")
        file.busy = True
        try:
            handler(self, file, task, arg)
        finally:
            file.busy = False
        return 0

    def may_map(
        self, encl: Encl, start: int, end: int, prot: int, *, exec_implied: bool = False
    ) -> None:
        """Refuse with EACCES a mapping that the enclave's pages do not allow.

        *exec_implied* is the task's personality READ_IMPLIES_EXEC.
        """
        mapping.check_may_map(encl, start, end, prot, exec_implied=exec_implied)

    def alignment(self, file: File, length: int, flags: int) -> int:
        """Return what a new mapping is to be aligned to, in bytes; OSError: refused.

        isgx moves even a MAP_FIXED one up to the next such address.
        """
        return mapping.alignment(self.cpu.model, file, length, flags)

    def mmap(
        self,
        mm: Mm,
        file: File,
        start: int,
        length: int,
        prot: int,
        flags: int,
    ) -> None:
        """Map at *start*, which the kernel or MAP_FIXED chose; OSError, all as before.

        The file's offset plays no part: an address shows the page of that address.
        """
        if isinstance(file, Isgx):
            self.alignment(file, length, flags)
            file = file.blank
        if isinstance(file, Encl):
            check_map(self.gate, mm, prot)
        with noting_static(self.gate, mm):
            mapping.mmap(mm, file, (start, length, 0), prot, flags)

    def mmap_vepc(
        self, mm: Mm, file: VepcFile, where: mapping.Where, prot: int, flags: int
    ) -> None:
        """Map a guest's EPC, from an offset in the file on; the owner asks nothing."""
        mapping.mmap(mm, file, where, prot, flags)

    def mprotect(self, mm: Mm, start: int, length: int, prot: int) -> None:
        """Change the enclave mappings in a range; the others in it are the caller's.

        On OSError the mappings below the refused one stay changed, as on Linux.
        """
        if mm.overlapping(start, start + length):
            check_map(self.gate, mm, prot)
        with noting_static(self.gate, mm):
            mapping.mprotect(mm, start, length, prot)

    def munmap(self, mm: Mm, start: int, length: int) -> None:
        """Unmap the enclave mappings in a range, if there are any."""
        mapping.munmap(mm, start, length)

    def mm_gone(self, mm: Mm) -> None:
        """Take note that an address space is gone, by exec or exit."""
        mm.clear()
        mm.tables.close()

    def fault(
        self, mm: Mm, address: int, error_code: int, *, from_enclave: bool
    ) -> Outcome:
        """Handle a page fault as Linux would; *error_code* is the processor's.

        After Resolved, apply `effective` to the page and let the access run again.
        """
        return resolve(self, mm, address, error_code, from_enclave=from_enclave)

    def hidden_up_to(self, mm: Mm, start: int, end: int, *, writes: bool) -> int:
        """Return where in a range an access from outside enclaves first faults.

        Up to there are pages of enclaves, and the kernel reads ones as well.
        """
        code = PFEC_U | (PFEC_W if writes else 0)
        at = start
        while at < end and not isinstance(
            self.fault(mm, at, code, from_enclave=False), Signal
        ):
            at = (at // PAGE_SIZE + 1) * PAGE_SIZE
        return min(at, end)

    def resident(self, encl: Encl, address: int) -> EnclPage | None:
        """Return the page at an address, in the EPC; None if there is none to have.

        NotYetError.
        """
        page = encl.page(address)
        if page is None or not page.evicted:
            return page
        try:
            return load_page(self, encl, encl.index(address))
        except OSError:
            return None

    def at_hand(self, encl: Encl, address: int) -> EnclPage | None:
        """Return a page as `resident` does, if nobody has to wait for it."""
        try:
            return self.resident(encl, address)
        except NotYetError:
            return None

    def secs(self, encl: Encl) -> Secs:
        """Return the SECS of an enclave that was created; OSError if it is lost."""
        return self.machine.enclaves[load_secs(self, encl)].secs

    def effective(self, mm: Mm, start: int, end: int) -> list[Extent]:
        """Return what the CPU may do natively in the enclave mappings of a range."""
        self.absorb()
        return mapping.effective(mm, start, end)
