"""The daemon: owns one platform, and serves any number of trees of programs on it."""

import errno
import os
import pwd
import signal
import socket
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from time import monotonic
from typing import TypeVar

from softsgx.driver.core import Core
from softsgx.driver.epc.account import Account, Scarce
from softsgx.machine.machine import Machine
from softsgx.native import host
from softsgx.native.pulse import Pulse
from softsgx.platform.audit import Who
from softsgx.platform.platform import Platform
from softsgx.runner.code.host_code import HostCode, TextScanner
from softsgx.runner.kept import CODE_PLACES, Kept
from softsgx.runner.loop import Loop
from softsgx.runner.system import System, host_system
from softsgx.runner.task.turn import Turn
from softsgx.service.attached import Attached
from softsgx.service.channel import Channel, Peer
from softsgx.service.control import ControlRoom
from softsgx.service.guests import GuestRoom
from softsgx.service.machines import Served
from softsgx.service.manager import tell_manager
from softsgx.service.session import Session
from softsgx.service.shares import all_shares, use_all_descriptors

_TICK_MS = 200
"""After how long what could not be done is tried again."""
_MOMENT_MS = 5
_PARTING_S = 5.0
"""Seconds for calls under way to end, and programs that start to begin."""
_T = TypeVar("_T")
_YAMA = Path("/proc/sys/kernel/yama/ptrace_scope")


class Daemon:
    """One platform, its machine, and who is attached to it.

    What the trees share is looked at and changed with `turn`.
    """

    def __init__(self, platform: Platform, others_bytes: int | None = None):
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
        use_all_descriptors()
        self.shares = all_shares(os.geteuid(), others_bytes)
        self.machinery = self._new_machinery(None)
        self.guests = self._new_guests()
        scanner = (
            TextScanner(Kept(CODE_PLACES)) if self.machinery.rewrite_cpuid else None
        )
        self.code = HostCode(scanner)

    def _new_machinery(self, left: Machine | None) -> Served:
        platform = self.platform
        if not platform.is_on:
            self.complain(f"{platform.directory}: it is off: no SGX for its programs")
            platform = Platform.ephemeral(replace(platform.model, sgx1=False))
        return self.serve_system(host_system(platform, self.complain, left))

    def _new_guests(self) -> GuestRoom:
        """Return the guests of our platform, on its machine as it is now."""
        return GuestRoom(self, self.platform, self.machinery.driver)

    # ---- machines ----

    def serve_system(self, system: System) -> Served:
        """Return what serves the programs of one more system."""
        served = Served(self, system)
        self.loop.on_readable(served.files.watch.fd, self._release_gone)
        return served

    def machines(self) -> list[tuple[str, Served]]:
        """Return all that we serve: the host's, whose name is empty, and guests'."""
        return [("", self.machinery), *self.guests.served()]

    def systems(self) -> list[tuple[str, Core]]:
        """Return their drivers, by the same names."""
        return [(name, served.driver) for name, served in self.machines()]

    def machine_of(self, guest: str) -> Served:
        """Return that for a program of a guest's, or of the host's; PlatformError."""
        if not guest or not self.platform.is_on:
            return self.machinery
        return self.guests.enter(guest)

    def serves(self, served: Served) -> bool:
        """Say whether a machine is still there."""
        return any(one is served for _, one in self.machines())

    def close(self, served: Served) -> None:
        """Take the power from what is left on a machine, and give it up."""
        with self.turn:
            served.files.lose_power()
            self.loop.forget(served.files.watch.fd)
            served.close()

    # ---- connections ----

    def _accept(self, data: socket.socket) -> None:
        try:
            with self.turn:
                self.admit(data.accept()[0])
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                self._turn_away(data)

    def admit(self, sock: socket.socket) -> None:
        """Take in a connection to the data channel, unless there are too many."""
        channel = Channel(sock)
        try:
            Account(channel.peer.uid, self.shares).take(Scarce.RUNS, 1)
        except OSError:
            _refuse(channel, "it serves as many runs as it can, or all of your share")
        else:
            self.sessions.add(Session(self, channel))

    def _turn_away(self, data: socket.socket) -> None:
        """Take a connection off the queue, where there is no descriptor for it."""
        os.close(self._spare)
        with suppress(OSError):
            _refuse(Channel(data.accept()[0]), "it has no descriptor left for a run")
        self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

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

    def forget(self, session: Session) -> None:
        """Take note that a connection ended, and its tree, if it had one."""
        if session in self.sessions:
            self.sessions.remove(session)
            session.account.give(Scarce.RUNS, 1)

    # ---- for whom a thread works, and what he is told ----

    def works_for(self, session: Session) -> None:
        """Note for whom this thread works from now on."""
        self._here.session = session

    def client(self) -> Session | None:
        """Return for whom this thread works; None: for ourselves."""
        return getattr(self._here, "session", None)

    def client_pid(self) -> int:
        """Return the process for which this thread works, or our own."""
        session = self.client()
        return session.peer.pid if session else os.getpid()

    def account(self) -> Account:
        """Return whose the work is that this thread does."""
        session = self.client()
        return session.account if session else Account()

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
        self._dismiss_all()
        with self.turn:
            for _, machine in self.machines():
                machine.files.lose_power()
        return served

    def _serve_once(self) -> None:
        self._do_ready(self._timeout_ms())
        while self._errands:
            self._errands.popleft()()
        self._tidy()

    def _do_ready(self, timeout_ms: int | None) -> None:
        ready = self.loop.wait(self._pulse, timeout_ms)
        for fd in ready.fds:
            self.loop.do(fd, ready.call)

    def attend(self) -> None:
        """Do what is due, or wait for a moment if nothing is."""
        self._tidy()
        self._do_ready(_MOMENT_MS)

    def on_main(self, do: Callable[[], _T]) -> _T:
        """Have the main thread do something, and return what came of it.

        Not for the main thread.  PlatformError, OSError: as it raised.
        """
        done: Future[_T] = Future()

        def errand() -> None:
            try:
                done.set_result(do())
            except Exception as error:  # noqa: BLE001 -- who asked hears of it
                done.set_exception(error)

        self._errands.append(errand)
        self.wake()
        return done.result()

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

    def _timeout_ms(self) -> int | None:
        waits = [self._recheck_ms()]
        if self.leaving or self._unsaid():
            waits.append(_TICK_MS)
        return min((wait for wait in waits if wait is not None), default=None)

    def _recheck_ms(self) -> int | None:
        waits = [served.files.watch.recheck_ms for _, served in self.machines()]
        return min((wait for wait in waits if wait is not None), default=None)

    def _tidy(self) -> None:
        self.leaving = [tree for tree in self.leaving if not tree.close()]
        with self.turn:
            for session in self._unsaid():
                session.flush()
        if self._recheck_ms() is None:
            self._recheck_at = None
        elif self._recheck_at is None or monotonic() >= self._recheck_at:
            self._release_gone()

    def _unsaid(self) -> list[Session]:
        return [session for session in list(self.sessions) if session.has_unsaid]

    def _release_gone(self) -> None:
        with self.turn:
            for _, served in self.machines():
                served.release_gone()
        recheck_ms = self._recheck_ms()
        self._recheck_at = monotonic() + recheck_ms / 1000 if recheck_ms else None

    # ---- the end of all enclaves ----

    def start_anew(self, who: Who, *, kexec: bool) -> int:
        """Start the machine anew: all enclaves are gone; return pages found in use.

        *kexec*: the memory keeps its power, and the new driver empties the EPC.  *who*
        asked.  PlatformError: it could not be, and no enclave of the host is gone.
        """
        directory = self.platform.directory
        platform = Platform.open(directory) if directory else self.platform
        self.guests.power_off(who)
        self._dismiss_all()
        # What a call that does not end may still work on is not handed over.
        left = self.machinery.machine if kexec and not self._trees() else None
        self.close(self.machinery)
        with self.turn:
            self.platform = platform
            self.machinery = self._new_machinery(left)
        self.guests = self._new_guests()
        return self.machinery.driver.found_dirty

    def _dismiss_all(self) -> None:
        """Let go of all trees: their clients take them back."""
        latest = monotonic() + _PARTING_S
        trees = busy = self._trees()
        while monotonic() < latest and busy:
            # Each by itself: there may be no moment at which all of them are quiet.
            for tree in [tree for tree in busy if tree.is_quiet]:
                tree.retire()
            self.attend()
            busy = [one for one in busy if not (one.is_retired or one.is_closed)]
        self.dismiss(trees)
        for tree in self._trees():
            tree.let_go()

    def dismiss(self, trees: Iterable[Attached]) -> None:
        """Serve trees no more; with some a call may be under way that does not end."""
        latest = monotonic() + _PARTING_S
        for tree in trees:
            tree.retire()
        while monotonic() < latest and not all(tree.is_closed for tree in trees):
            self.attend()

    def _trees(self) -> list[Attached]:
        return [session.tree for session in list(self.sessions) if session.tree]


def _empty(pipe: int) -> None:
    with suppress(BlockingIOError):
        os.read(pipe, 4096)


def _refuse(channel: Channel, why: str) -> None:
    with suppress(OSError):
        channel.offer({"refused": why})
    channel.close()


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
