"""The daemon: owns one platform, and serves any number of trees of programs on it."""

import errno
import os
import pwd
import resource
import signal
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import monotonic, sleep

from softsgx.machine.machine import Machine
from softsgx.native import host, lib
from softsgx.native.pulse import Pulse
from softsgx.platform.errors import PlatformError
from softsgx.platform.platform import Platform
from softsgx.runner.code.host_code import HostCode, TextScanner
from softsgx.runner.kept import CODE_PLACES, Kept
from softsgx.runner.loop import Loop
from softsgx.runner.machinery import Machinery
from softsgx.runner.task.turn import Turn
from softsgx.service.channel import Channel, Peer, peer_of
from softsgx.service.control import ControlRoom
from softsgx.service.manager import tell_manager
from softsgx.service.session import Attached, Session

_MOST_SESSIONS = 4096
_MOST_OF_ONE = 1536
"""Connections of one user who is not the daemon's."""
_TICK_MS = 200
"""After how long what could not be done is tried again."""
_MOMENT_S = 0.01
_PARTING_S = 5.0
"""Seconds for calls under way to end, and programs that start to begin."""
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
        self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._recheck_at: float | None = None
        self._errands: deque[Callable[[], None]] = deque()
        """What other threads want the main thread to do."""
        self._injectors: dict[bool, lib.Injector] = {}
        _use_all_descriptors()
        self.machinery = self._new_machinery(None)
        scanner = (
            TextScanner(Kept(CODE_PLACES)) if self.machinery.rewrite_cpuid else None
        )
        self.code = HostCode(scanner)

    def _new_machinery(self, left: Machine | None) -> Machinery:
        platform = self.platform
        if not platform.is_on:
            self.complain(f"{platform.directory}: it is off: no SGX for its programs")
            platform = Platform.ephemeral(replace(platform.model, sgx1=False))
        made = _Machinery(platform, self, left)
        self.loop.on_readable(made.files.watch.fd, self._release_gone)
        return made

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

    def client(self) -> Session | None:
        """Return for whom this thread works; None: for ourselves."""
        return getattr(self._here, "session", None)

    def complain(self, line: str) -> None:
        """Tell the user of the program that this thread works for, or our own."""
        session = self.client()
        if session is not None:
            session.say(line)
            return
        with suppress(OSError):
            sys.stderr.write(f"softsgx: {line}\n")
            sys.stderr.flush()

    # ---- the main thread ----

    def serve(self, data: socket.socket, control: socket.socket) -> int:
        """Serve until a signal says that it is enough; return how many were served."""
        room = ControlRoom(self)
        self.loop.on_readable(data.fileno(), lambda: self._accept(data))
        self.loop.on_readable(control.fileno(), lambda: room.accept(control))
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        signal.set_wakeup_fd(self._bell_writer(), warn_on_full_buffer=False)
        while not self._is_over:
            self._serve_once()
        tell_manager("STOPPING=1")
        served = len(self._trees())
        self._dismiss()
        return served

    def _serve_once(self) -> None:
        self._do_due(self._timeout_ms())
        while self._errands:
            self._errands.popleft()()
        self._tidy()

    def _do_due(self, timeout_ms: int | None) -> None:
        due = self.loop.wait(self._pulse, timeout_ms)
        for fd in due.fds:
            self.loop.do(fd, due.call)

    # ---- the end of all enclaves ----

    def reset(self, *, kexec: bool) -> int:
        """Start the machine anew: all enclaves are gone; return pages found in use.

        *kexec*: the memory keeps its power, and the new driver empties the EPC.  Not
        for the main thread.  PlatformError: it could not be, and nothing was done.
        """
        done: Future[int] = Future()

        def errand() -> None:
            try:
                done.set_result(self._start_anew(kexec=kexec))
            except (PlatformError, OSError) as error:
                done.set_exception(error)

        self._errands.append(errand)
        self.wake()
        return done.result()

    def _start_anew(self, *, kexec: bool) -> int:
        directory = self.platform.directory
        platform = Platform.open(directory) if directory else self.platform
        self._dismiss()
        with self.turn:
            self.loop.forget(self.machinery.files.watch.fd)
            # What a call that does not end may still work on is not handed over.
            left = self.machinery.machine if kexec and not self._trees() else None
            self.machinery.close()
            self.platform = platform
            self.machinery = self._new_machinery(left)
            self._injectors.clear()
        return self.machinery.driver.found_dirty

    def _dismiss(self) -> None:
        """Let go of all trees: their clients take them back."""
        latest = monotonic() + _PARTING_S
        trees = self._trees()
        while monotonic() < latest and not all(tree.is_quiet for tree in trees):
            sleep(_MOMENT_S)
        for tree in trees:
            tree.retire()
        while monotonic() < latest and self._trees():
            self._tidy()
            self._do_due(_TICK_MS)
        for tree in self._trees():
            tree.let_go()
        with self.turn:
            self.machinery.files.lose_power()

    def _trees(self) -> list[Attached]:
        return [session.tree for session in list(self.sessions) if session.tree]

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
        try:
            with self.turn:
                self.admit(data.accept()[0])
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._turn_away(data)

    def _turn_away(self, data: socket.socket) -> None:
        """Take a connection off the queue, where there is no descriptor for it."""
        os.close(self._spare)
        with suppress(OSError):
            data.accept()[0].close()
        self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

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
    """A machine whose descriptors the clients keep for the time after us."""

    def __init__(self, platform: Platform, daemon: Daemon, left: Machine | None):
        self._wake, self._client = daemon.wake, daemon.client
        super().__init__(platform, daemon.complain, left=left)

    def inherit(self, kind: str, fd: int) -> Callable[[], None]:
        """Have the client that this thread works for keep a descriptor."""
        session = self._client()
        return session.keep(kind, fd) if session else super().inherit(kind, fd)

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
