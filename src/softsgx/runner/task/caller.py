"""The thread that made a call, for as long as it waits for the answer.

A number of a thread means what it meant only while that thread waits: when it is
killed, another may get the number.  All that is done to a caller's memory, descriptors
and files in /proc goes by here.  It may take long, for programs supply memory and file
systems: meanwhile others have their turn.  See decision record 32.
"""

import errno
import os
import signal

from softsgx.native import lib
from softsgx.runner.task.threads import pid_of, read_proc
from softsgx.runner.task.turn import Aside, Turn, held

_U64 = (1 << 64) - 1


def _nothing() -> None:
    pass


class Caller:
    """A thread that waits *by* a call; all methods fail with ESRCH once it does not.

    *turn* is ours when a method is called, and when it returns.
    """

    __slots__ = ("_aside", "_by", "leaving", "tid")

    def __init__(self, tid: int, by: lib.Waits = lib.NOBODY, turn: Turn | None = None):
        self.tid = tid
        self._by = by
        self._aside = turn.aside if turn else held()
        self.leaving = _nothing
        """What is to be done before others have their turn."""

    def is_waiting(self) -> bool:
        """Say whether it still waits."""
        return lib.waits(self._by)

    def check(self) -> None:
        """Refuse to believe what was found under its number, if it waits no more."""
        if not lib.waits(self._by):
            raise OSError(errno.ESRCH, "the caller is gone")

    def hold(self) -> None:
        """Keep the turn from here on, however long it takes."""
        self._aside = held()

    def aside(self) -> Aside:
        """Return what `with` does something in while others have their turn."""
        self.leaving()
        return self._aside

    def read(self, address: int, size: int) -> bytes:
        """Copy *size* bytes of its memory; EFAULT."""
        self.leaving()
        with self._aside:
            return lib.read(self.tid, address & _U64, size, self._by)

    def write(self, address: int, data: bytes) -> None:
        """Copy bytes into its memory; EFAULT."""
        self.leaving()
        with self._aside:
            lib.write(self.tid, address & _U64, data, self._by)

    def copy_pages(self, address: int, to: memoryview) -> int:
        """Copy pages into zeroed memory of ours; return how many bytes there were."""
        self.leaving()
        with self._aside:
            return lib.copy_pages(self.tid, address & _U64, to, self._by)

    def poke(self, address: int, byte: int) -> None:
        """Write one byte, through its protections, as a debugger does."""
        self.leaving()
        with self._aside:
            lib.poke(self.tid, address, byte, self._by)

    def stat_fd(self, fd: int) -> os.stat_result:
        """Look at what it has open; EBADF."""
        self.leaving()
        with self._aside:
            try:
                status = os.stat(f"/proc/{self.tid}/fd/{fd}")  # noqa: PTH116 -- often
            except OSError as error:
                raise OSError(errno.EBADF, "not open") from error
        self.check()
        return status

    def link_of_fd(self, fd: int) -> str | None:
        """Return what /proc calls a file that it has open; None if it does not say.

        Nor of what is open as a name alone (O_PATH): the kernel refuses what it is for.
        """
        with self.aside():
            try:
                link = os.readlink(f"/proc/{self.tid}/fd/{fd}")  # noqa: PTH115 -- no path
                info = read_proc(f"/proc/{self.tid}/fdinfo/{fd}")
            except OSError:
                return None
        self.check()
        flags = info.partition("flags:")[2].split(maxsplit=1)[0]
        return None if int(flags, 8) & os.O_PATH else link

    def kill(self) -> None:
        """Kill its process, if it is the first thread of one."""
        pidfd = os.pidfd_open(self.tid)
        try:
            self.check()
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        finally:
            os.close(pidfd)

    def take_fd(self, fd: int) -> int:
        """Return a descriptor of ours for what it has open; EBADF."""
        with self.aside():
            taken = lib.take_fd(pid_of(self.tid), fd & 0xFFFF_FFFF)
        if not self.is_waiting():
            os.close(taken)
            raise OSError(errno.ESRCH, "the caller is gone")
        return taken
