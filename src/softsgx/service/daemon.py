"""The daemon: owns one platform, and serves any number of trees of programs on it."""

import os
import pwd
import resource
import signal
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from time import monotonic

from softsgx.native import host, lib
from softsgx.native.pulse import Pulse
from softsgx.platform.platform import Platform
from softsgx.runner.host_code import HostCode, TextScanner
from softsgx.runner.kept import CPUID_SITES, Kept
from softsgx.runner.loop import Loop
from softsgx.runner.machinery import Machinery
from softsgx.runner.turn import Turn
from softsgx.service.channel import Channel, Peer, peer_of
from softsgx.service.control import ControlRoom
from softsgx.service.session import Attached, Session

_MOST_SESSIONS = 4096
_MOST_OF_ONE = 1536
"""Connections of one user who is not the daemon's."""
_TICK_MS = 200
"""After how long what could not be done is tried again."""
_YAMA = Path("/proc/sys/kernel/yama/ptrace_scope")


class Daemon:
    """One platform, its machine, and who is attached to it.

    What the trees share is looked at and changed with `turn`.
    """

    def __init__(self, platform: Platform):
        self.platform = platform
        self.turn = Turn()
        self.loop = Loop(last=-1)
        self._pulse = Pulse()  # nobody watches the main thread
        self.sessions: set[Session] = set()
        self.leaving: list[Attached] = []
        """Trees whose crew has ended, or is about to."""
        self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.loop.on_readable(self._bell, self._hear_bell)
        self._here = threading.local()
        self._may_look_at_all = host.may_trace_all()
        self._is_over = False
        self._recheck_at: float | None = None
        _use_all_descriptors()
        self.machinery = _Machinery(platform, self)
        self.loop.on_readable(self.machinery.files.watch.fd, self._release_gone)
        scanner = (
            TextScanner(Kept(CPUID_SITES)) if self.machinery.rewrite_cpuid else None
        )
        self.code = HostCode(scanner)
        self._injectors: dict[bool, lib.Injector] = {}

    def injector(self, *, exact: bool) -> lib.Injector:
        """Return what puts agents into the programs of a tree."""
        if exact not in self._injectors:
            config = self.machinery.config(exact=exact)
            self._injectors[exact] = lib.Injector(config)
        return self._injectors[exact]

    # ---- who may attach ----

    def objection(self, peer: Peer) -> str:
        """Say why a user's programs cannot be served; empty: they can."""
        if self._may_look_at_all:
            return ""
        ours = os.geteuid()
        if peer.uid != ours:
            return (
                f"the daemon runs as {_user(ours)} and may not look at programs of "
                f"{_user(peer.uid)}: root's daemon may"
            )
        with suppress(OSError):
            if _YAMA.read_text().strip() != "0":
                return (
                    "kernel.yama.ptrace_scope keeps the daemon from looking at your "
                    "programs: set it to 0, or run the daemon as root"
                )
        return ""

    def admit(self, sock: socket.socket) -> None:
        """Take in a connection to the data channel, unless there are too many."""
        peer = peer_of(sock)
        same = sum(session.peer.uid == peer.uid for session in self.sessions)
        is_guest = peer.uid != os.geteuid()
        if len(self.sessions) >= _MOST_SESSIONS or (is_guest and same >= _MOST_OF_ONE):
            sock.close()
            return
        self.sessions.add(Session(self, Channel(sock)))

    # ---- messages ----

    def works_for(self, session: Session) -> None:
        """Note for whom this thread works from now on."""
        self._here.session = session

    def complain(self, line: str) -> None:
        """Tell the user of the program that this thread works for, or our own."""
        session: Session | None = getattr(self._here, "session", None)
        if session is not None:
            session.say(line)
            return
        with suppress(OSError):
            sys.stderr.write(f"softsgx: {line}\n")
            sys.stderr.flush()

    # ---- the main thread ----

    def serve(self, data: socket.socket, control: socket.socket) -> None:
        """Serve until a signal says that it is enough."""
        room = ControlRoom(self)
        self.loop.on_readable(data.fileno(), lambda: self._accept(data))
        self.loop.on_readable(control.fileno(), lambda: room.accept(control))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        signal.set_wakeup_fd(self._bell_writer(), warn_on_full_buffer=False)
        while not self._is_over:
            due = self.loop.wait(self._pulse, self._timeout_ms())
            for fd in due.fds:
                self.loop.do(fd, due.call)
            self._tidy()

    def wake(self) -> None:
        """Have the main thread look what there is to do."""
        os.eventfd_write(self._bell, 1)

    def _bell_writer(self) -> int:
        """Return a descriptor for what signals write: a byte at a time."""
        readable, writable = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self.loop.on_readable(readable, lambda: _empty(readable))
        return writable

    def _hear_bell(self) -> None:
        with suppress(BlockingIOError):
            os.eventfd_read(self._bell)

    def _end(self, number: int, frame: object) -> None:
        del number, frame
        self._is_over = True

    def _accept(self, data: socket.socket) -> None:
        with suppress(OSError), self.turn:
            self.admit(data.accept()[0])

    def _timeout_ms(self) -> int | None:
        waits = [self.machinery.files.watch.recheck_ms]
        if self.leaving or self._unsaid():
            waits.append(_TICK_MS)
        return min((wait for wait in waits if wait is not None), default=None)

    def _unsaid(self) -> list[Session]:
        return [session for session in list(self.sessions) if session.has_unsaid]

    def _tidy(self) -> None:
        self.leaving = [tree for tree in self.leaving if not tree.close()]
        with self.turn:
            for session in self._unsaid():
                session.flush()
        if self.machinery.files.watch.recheck_ms is None:
            self._recheck_at = None
        elif self._recheck_at is None or monotonic() >= self._recheck_at:
            self._release_gone()

    def _release_gone(self) -> None:
        with self.turn:
            self.machinery.release_gone()
        recheck_ms = self.machinery.files.watch.recheck_ms
        self._recheck_at = monotonic() + recheck_ms / 1000 if recheck_ms else None


class _Machinery(Machinery):
    """A machine whose trees have the daemon's main thread look again."""

    def __init__(self, platform: Platform, daemon: Daemon):
        super().__init__(platform, daemon.complain)
        self._wake = daemon.wake

    def release_gone(self) -> None:
        """Release the enclaves that nobody has any more."""
        super().release_gone()
        if self.files.watch.recheck_ms is not None:
            self._wake()


def _empty(pipe: int) -> None:
    with suppress(BlockingIOError):
        os.read(pipe, 4096)


def _use_all_descriptors() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
