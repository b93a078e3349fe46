"""The native page tables of a process, as the driver's reclaimer works on them.

A page leaves while the process runs: it is write-protected, its bytes are taken, and
from then on an access to it is a SIGBUS, which the agent asks us about.
"""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial

from softsgx.arch.addr import PAGE_SHIFT
from softsgx.driver.encl import Encl
from softsgx.driver.protocols import NoTables, Tables
from softsgx.native.memory import SharedMemory
from softsgx.native.userfault import Userfault
from softsgx.runner.task.caller import Caller
from softsgx.runner.task.deputies import Deputies, Errand, LateError
from softsgx.runner.task.files import Inherit
from softsgx.runner.task.mappings import Mapping, mappings
from softsgx.runner.task.threads import is_thread_of

_GONE = frozenset({errno.ESRCH, errno.ENOENT, errno.EINVAL})
"""The process, or the mapping, is there no more: so are its pages."""


def page_tables(
    pid: int, caller: Caller, fd: int, inherit: Inherit, *, is_foreign: bool
) -> Tables:
    """Return those of process *pid*, of which *caller* has a userfaultfd open.

    *is_foreign*: its user is not ours, and may mean us harm.
    """
    try:
        userfault = Userfault(caller.take_fd(fd))
    except OSError:
        return NoTables()
    kind = ForeignTables if is_foreign else PageTables
    return kind(pid, userfault, inherit("tables", userfault.fd))


class PageTables:
    """Those of process *pid*, by its userfaultfd."""

    can_evict = True

    def __init__(self, pid: int, userfault: Userfault, disinherit: Callable[[], None]):
        self._pid = pid
        self._disinherit = disinherit
        self._userfault = userfault
        self._mappings: dict[int, list[Mapping]] = {}
        self._changing: set[int] = set()
        """Threads that were told to change mappings and have not said that they did."""

    def watch(self, encl: Encl) -> bool:
        """Have an access to a hole of it be a SIGBUS; False: mappings change now."""
        self._of(encl)
        return not self._changing

    def protect(self, encl: Encl, runs: list[tuple[int, int]]) -> None:
        """Let nobody write pages from now on; a hole in them is a SIGBUS."""
        self._write_protect(encl, runs, on=True)

    def unprotect(self, encl: Encl, runs: list[tuple[int, int]]) -> None:
        """Let pages be written again."""
        self._write_protect(encl, runs, on=False)

    def _write_protect(
        self, encl: Encl, runs: list[tuple[int, int]], *, on: bool
    ) -> None:
        try:
            for start, length in self._mapped(encl, runs):
                self._userfault.write_protect(start, length, on=on)
        except OSError as error:
            if error.errno not in _GONE:
                raise
            # Older kernels want one mapping for a range, and it may be two by now.
            self._mappings.clear()
            for start, length in self._mapped(encl, runs):
                with _ignoring_the_gone():
                    self._userfault.write_protect(start, length, on=on)

    def _mapped(
        self, encl: Encl, runs: list[tuple[int, int]]
    ) -> Iterator[tuple[int, int]]:
        """Yield where the process maps pages: addresses and lengths."""
        for mapping in self._of(encl):
            first = mapping.offset
            stop = first + mapping.end - mapping.start
            for index, count in runs:
                low = max(first, index << PAGE_SHIFT)
                high = min(stop, (index + count) << PAGE_SHIFT)
                if low < high:
                    yield mapping.start + low - first, high - low

    def _of(self, encl: Encl) -> list[Mapping]:
        """Return the mappings of an enclave's memory, its holes watched."""
        if not isinstance(encl.memory, SharedMemory):
            raise TypeError("an enclave of no process")
        if self._changing:
            self._changing = {n for n in self._changing if is_thread_of(n, self._pid)}
            self._mappings.clear()
        inode = encl.memory.inode
        known = self._mappings.get(inode)
        if known is None:
            found = mappings(self._pid)
            known = [one for one in found if one.inode == inode and one.is_memory]
            for mapping in known:
                self._watch(mapping, encl.size)
            self._mappings[inode] = known
        return known

    def _watch(self, mapping: Mapping, size: int) -> None:
        # Behind the enclave's pages are its EPCM words, where holes are zeros.
        length = min(mapping.end - mapping.start, size - mapping.offset)
        if length > 0:
            with _ignoring_the_gone():
                self._userfault.register(mapping.start, length)

    def changes(self, tid: int) -> bool:
        """Take note that a thread was told to change mappings; it says when it has.

        How long that takes nobody knows: others may have the processors.
        """
        self._changing.add(tid)
        return True

    def changed(self, tid: int) -> None:
        """Take note that a thread's agent has changed mappings."""
        self._changing.discard(tid)
        self._mappings.clear()

    def close(self) -> None:
        """Let go of them."""
        self._disinherit()
        self._userfault.close()


class ForeignTables(PageTables):
    """Page tables of a process that may keep us waiting: we do not wait for long."""

    _deputies = Deputies()
    _late: Errand | None = None

    def watch(self, encl: Encl) -> bool:
        """Have holes be page faults; False also where that takes long."""
        try:
            return bool(self._do(partial(super().watch, encl)))
        except LateError:
            return False

    def protect(self, encl: Encl, runs: list[tuple[int, int]]) -> None:
        """Let nobody write pages from now on; LateError: they have to stay."""
        self._do(partial(super().protect, encl, runs))

    def unprotect(self, encl: Encl, runs: list[tuple[int, int]]) -> None:
        """Let pages be written again, after what is late."""
        do = partial(super().unprotect, encl, runs)
        if self._late is None or not self._late.then(do):
            with suppress(LateError):
                self._do(do)

    def close(self) -> None:
        """Let go of the tables, when nothing is done to them any more."""
        if self._late is not None and self._late.then(self._userfault.close):
            self._disinherit()
        else:
            super().close()

    def _do(self, do: Callable[[], object]) -> object:
        if self._late is not None and not self._late.is_over:
            raise LateError
        errand = self._deputies.start(do)
        try:
            return errand.wait(self._deputies.patience)
        except LateError:
            # What it finds of mappings may be old by then.
            if errand.then(self._mappings.clear):
                self._late = errand
                self._deputies.give_up(errand)
            raise


@contextmanager
def _ignoring_the_gone() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in _GONE:
            raise
