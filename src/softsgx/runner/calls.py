"""The agent's calls: what each asks, and what the supervisor does about it.

The caller is the program, and may be hostile: descriptors are looked up in its own
table, memory is copied once, and nothing it says about enclaves is believed.
"""

import errno
import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from softsgx.arch.addr import PAGE_SIZE
from softsgx.driver.device import File, Isgx
from softsgx.driver.driver import Driver
from softsgx.driver.encl import Encl
from softsgx.driver.epc.account import NOBODY
from softsgx.driver.mm import Mm
from softsgx.driver.vepc import VepcFile
from softsgx.native.numbers import Call
from softsgx.runner.answers import (
    NOT_IMPLEMENTED,
    NOT_OURS,
    Answer,
    NewFd,
    Result,
    said_ops,
)
from softsgx.runner.code.sites import Sites
from softsgx.runner.leaves import Leaves
from softsgx.runner.task.context import Context
from softsgx.runner.task.files import Files
from softsgx.runner.task.page_tables import page_tables
from softsgx.runner.task.process import Process, UserTask
from softsgx.runner.vfs.paths import Paths

if TYPE_CHECKING:
    from softsgx.runner.tracing import Tracer

_U32 = (1 << 32) - 1
_HIDDEN_AT_MOST = 1 << 20
"""Bytes of a buffer that are judged in one call."""


class Calls:
    """Carries out the agent's calls on one machine."""

    def __init__(
        self,
        driver: Driver,
        files: Files,
        paths: Paths,
        leaves: Leaves,
        sites: Sites,
        tracer: "Tracer | None" = None,
    ):
        self._driver = driver
        self._files = files
        self._paths = paths
        self._leaves = leaves
        self.sites = sites
        self._tracer = tracer
        self._handlers: dict[int, Callable[[UserTask, tuple[int, ...]], Result]] = {
            Call.IOCTL: self._ioctl,
            Call.MMAP: self._mmap,
            Call.MPROTECT: self._mprotect,
            Call.MUNMAP: self._munmap,
            Call.ENCLU: self._enclu,
            Call.FAULT: self._fault,
            Call.AEX: self._aex,
            Call.PATCH: self._patch,
            Call.SITE: self._site,
            Call.TRAP: self._trap,
            Call.RESUMED: self._resumed,
            Call.CODE: self._code,
            Call.MOREOPS: self._moreops,
            Call.COVERS: self._covers,
            Call.HIDDEN: self._hidden,
            Call.PAGES: self._pages,
            Call.MOVED: self._moved,
        }

    def carry_out(self, task: UserTask, args: tuple[int, ...]) -> Result:
        """Return the call's value; OSError has its errno."""
        if args[0] & _U32 == Call.PATH:
            return self._paths.carry_out(task, args)
        handler = self._handlers.get(args[0])
        if handler is None:
            raise OSError(errno.ENOSYS, "no such call")
        if self._tracer:
            # What it prints is of one call: others wait for its end.
            task.caller.hold()
            self._tracer.begin(task)
        return handler(task, args[1:])

    # ---- files ----

    def _ioctl(self, task: UserTask, args: tuple[int, ...]) -> Result:
        fd, cmd, arg, answer_at = args[0] & _U32, args[1], args[2], args[3]
        task.blocked = args[4]
        file = self._file(task, fd)
        answer = Answer(task.process, self.sites.code)
        was_created = isinstance(file, Encl) and file.created
        had = set(task.mm.encls) if isinstance(file, Isgx) else None
        result: Result = 0
        task.caller.leaving = partial(answer.note_changes, self._driver)
        try:
            result = self._driver_ioctl(file, task, fd, cmd, arg)
            made = self._made(task.mm, had)
            for encl in made:
                self._files.adopt(encl)
            if isinstance(file, Encl) and file.created and not was_created:
                made.append(file)
            for encl in made:
                if self._remap(answer, encl):
                    result = self._memory(encl)
        finally:
            answer.protect_changes(self._driver)
            answer.send(task.caller, answer_at)
        return result

    def _driver_ioctl(
        self, file: File, task: UserTask, fd: int, cmd: int, arg: int
    ) -> int:
        try:
            if self._tracer:
                return self._tracer.ioctl(self._driver, file, task, fd, cmd, arg)
            return self._driver.ioctl(file, task, cmd, arg)
        except OSError as error:
            if error.errno == errno.ENOSYS:
                error.errno = NOT_IMPLEMENTED
            raise

    def _file(self, task: UserTask, fd: int) -> File:
        file = task.file(fd)
        if file is None:
            raise OSError(errno.EBADF, "not open")
        if not isinstance(file, File):
            if self._files.is_lost(task.caller, fd):
                raise OSError(errno.EIO, "an enclave that was lost")
            raise OSError(NOT_OURS, "not a node of ours")
        return file

    def _made(self, mm: Mm, had: set[Encl] | None) -> list[Encl]:
        """Return the enclaves that an ioctl made, which only isgx's does."""
        new = mm.encls - had if had is not None else ()
        return [encl for encl in new if not self._files.has(encl)]

    def _remap(self, answer: Answer, encl: Encl) -> bool:
        """Give mappings their pages that were made before the enclave had a base."""
        vmas = answer.process.mm.of(encl)
        for vma in vmas:
            answer.attach(self._driver, encl)
            answer.map(self._driver, vma.start, vma.end)
        return bool(vmas)

    def _memory(self, file: File) -> NewFd:
        return NewFd(self._files.open_memory(file), os.O_CLOEXEC)

    # ---- mappings ----

    def _mmap(self, task: UserTask, args: tuple[int, ...]) -> Result:
        start, length, prot_flags, fd, answer_at = args[:5]
        prot, flags = prot_flags & _U32, prot_flags >> 32
        file = self._file(task, fd & _U32)
        if not answer_at:
            return self._driver.alignment(file, length, flags)
        answer = Answer(task.process, self.sites.code)
        task.take_personality()
        if isinstance(file, VepcFile):
            where = start, length, Context.read(task.caller, answer_at).address
            self._driver.mmap_vepc(task.mm, file, where, prot, flags)
        else:
            self._driver.mmap(task.mm, file, start, length, prot, flags)
        end = start + -(-length // PAGE_SIZE) * PAGE_SIZE
        if isinstance(file, Encl):
            answer.attach(self._driver, file)
        answer.map(self._driver, start, end)
        answer.detach_unmapped()
        answer.send(task.caller, answer_at)
        return self._memory(file)

    def _mprotect(self, task: UserTask, args: tuple[int, ...]) -> Result:
        start, length, prot, answer_at = args[:4]
        end = start + -(-length // PAGE_SIZE) * PAGE_SIZE
        if not task.mm.overlapping(start, end):
            raise OSError(NOT_OURS, "no enclave there")
        answer = Answer(task.process, self.sites.code)
        task.take_personality()
        try:
            self._driver.mprotect(task.mm, start, length, prot)
            answer.plain_protect(_gaps(task.process, start, end), prot)
        finally:
            answer.protect(self._driver, start, end)
            answer.send(task.caller, answer_at)
        return 0

    def _munmap(self, task: UserTask, args: tuple[int, ...]) -> Result:
        start, length, answer_at = args[:3]
        self._driver.munmap(task.mm, start, length)
        answer = Answer(task.process, self.sites.code)
        answer.detach_unmapped()
        answer.send(task.caller, answer_at)
        # What was said before it is about something that is gone.
        return task.process.number()

    def _covers(self, task: UserTask, args: tuple[int, ...]) -> Result:
        start, length = args[:2]
        return int(any(True for _ in task.mm.overlapping(start, start + length)))

    def _hidden(self, task: UserTask, args: tuple[int, ...]) -> Result:
        start, length, writes = args[:3]
        end = start + min(length, _HIDDEN_AT_MOST)
        at = self._driver.hidden_up_to(task.mm, start, end, writes=bool(writes))
        # Pages that came are published; natively they still have no rights.
        Answer(task.process, self.sites.code).note_changes(self._driver)
        return at - start

    def _pages(self, task: UserTask, args: tuple[int, ...]) -> Result:
        """Take a userfaultfd; without one the process's enclaves stay in the EPC."""
        if not self._driver.reclaimer:
            return 0
        found = page_tables(
            task.process.pid,
            task.caller,
            args[0],
            self._files.inherit,
            is_foreign=self._driver.account().uid not in {NOBODY, os.geteuid()},
        )
        task.mm.tables.close()
        task.mm.tables = found
        _watch_evicted(task.mm, task.mm.encls)
        return 0

    def _moved(self, task: UserTask, args: tuple[int, ...]) -> Result:
        """Watch the holes in a mapping again."""
        start, length = args[:2]
        task.mm.tables.changed(task.tid)
        vmas = task.mm.overlapping(start, start + length)
        _watch_evicted(task.mm, {vma.encl for vma in vmas})
        return 0

    # ---- instructions ----

    def _enclu(self, task: UserTask, args: tuple[int, ...]) -> Result:
        return self._with_context(task, args[0], self._leaves.enclu)

    def _fault(self, task: UserTask, args: tuple[int, ...]) -> Result:
        return self._with_context(task, args[0], self._leaves.fault)

    def _aex(self, task: UserTask, args: tuple[int, ...]) -> Result:
        context = Context.read(task.caller, args[0])
        self._leaves.aex(task, context)
        context.write(task.caller, args[0])
        return 0

    def _with_context(
        self,
        task: UserTask,
        address: int,
        do: Callable[[UserTask, Context, Answer], None],
    ) -> Result:
        context = Context.read(task.caller, address)
        answer = Answer(task.process, self.sites.code)
        do(task, context, answer)
        answer.send(task.caller, address, context.pack())
        return 0

    def _patch(self, task: UserTask, args: tuple[int, ...]) -> Result:
        self.sites.patch(task, args[0], args[1])
        return 0

    def _site(self, task: UserTask, args: tuple[int, ...]) -> Result:
        return int(self.sites.is_site(task, args[0], args[1]))

    def _trap(self, task: UserTask, args: tuple[int, ...]) -> Result:
        return int(self.sites.trap(task, args[0]))

    def _resumed(self, task: UserTask, args: tuple[int, ...]) -> Result:
        self.sites.resumed(task, args[0])
        return 0

    def _code(self, task: UserTask, args: tuple[int, ...]) -> Result:
        address, to, size = args[:3]
        task.caller.write(to, self.sites.seen(task, address, min(size, PAGE_SIZE)))
        return 0

    def _moreops(self, task: UserTask, args: tuple[int, ...]) -> Result:
        answer_at, said_at = args[:2]
        if said_at:
            return self._say_again(task, said_at, answer_at)
        ops = task.process.pending.pop(task.tid, [])
        answer = Answer(task.process, self.sites.code, ops, is_mapping=bool(ops))
        if not ops:
            task.mm.tables.changed(task.tid)
            made = task.process.mapping.pop(task.tid, [])
            _watch_evicted(task.mm, {encl for encl, _, _ in made})
            answer.allow(self._driver, made)
        answer.send(task.caller, answer_at)
        return 0

    def _say_again(self, task: UserTask, said_at: int, answer_at: int) -> Result:
        """Answer what an answer would be now, and with it the rest of that one."""
        ops = said_ops(task.caller, said_at)
        answer = Answer(task.process, self.sites.code)
        answer.say_again(self._driver, ops + task.process.pending.pop(task.tid, []))
        answer.send(task.caller, answer_at)
        return 0


def _watch_evicted(mm: Mm, encls: Iterable[Encl]) -> None:
    """Have accesses to pages that are out be faults, where they might read zeros."""
    for encl in encls:
        if encl.evicted:
            mm.tables.watch(encl)


def _gaps(process: Process, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the parts of a range that are no enclave mappings."""
    at = start
    for vma in process.mm.overlapping(start, end):
        if at < vma.start:
            yield at, vma.start
        at = max(at, vma.end)
    if at < end:
        yield at, end
