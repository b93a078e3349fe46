"""One program that attached: its connection, and its tree once it lent us the listener.

A client is not trusted.  All that it may do is lend listeners: who makes a call, and
which, the daemon believes the kernel alone.
"""

import errno
import os
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from softsgx.driver.epc.account import Account, Thing
from softsgx.native.ledger import NotedListener, is_listener
from softsgx.platform.errors import PlatformError
from softsgx.runner.crew import Crew, Places
from softsgx.runner.execs import Execs
from softsgx.runner.loop import Loop
from softsgx.runner.options import RunOptions
from softsgx.runner.serving import Serving
from softsgx.runner.supervisor import Sgx, Supervisor
from softsgx.runner.task.turn import Turn
from softsgx.service.channel import VERSION, Channel, ChannelError, Message, Words
from softsgx.service.programs import Programs

if TYPE_CHECKING:
    from softsgx.service.daemon import Daemon

_MOST_UNSAID = 64
"""Lines for a user that wait for a client which does not listen."""


class Session:
    """A connection to the data channel."""

    def __init__(self, daemon: "Daemon", channel: Channel):
        self._daemon = daemon
        self._channel: Channel | None = channel
        self.peer = channel.peer
        self.account = Account(self.peer.uid, daemon.shares, self._told)
        self._told_of: set[Thing] = set()
        self.guest = ""
        """In which guest its programs are; empty: on the host."""
        self._programs: Programs | None = None
        self._options: RunOptions | None = None
        self._pending: deque[tuple[Words, list[int]]] = deque()
        self._number = 0
        self.tree: Attached | None = None
        daemon.loop.on_readable(channel.fd, self._hear)

    # ---- what the client says ----

    def _hear(self) -> None:
        with self._daemon.turn:
            had = self.tree
            self._take()
            tree = self.tree
        if tree is not had and tree:
            tree.start()

    def _take(self) -> None:
        """Take what it says; whatever is not as it should be ends the connection."""
        try:
            message = self._channel.receive() if self._channel else None
        except BlockingIOError:
            return
        except (ChannelError, OSError):
            message = None
        if message is None:
            self.hang_up()
            return
        try:
            self._obey(message)
        except PlatformError as error:
            self._offer({"refused": str(error)})
            self.hang_up()
        except (ChannelError, OSError, KeyError, TypeError, ValueError) as error:
            self._offer({"refused": f"not understood: {error}"})
            self.hang_up()
        finally:
            message.close()

    def _obey(self, message: Message) -> None:
        match message.words.get("ask"):
            case "config" if self._options is None:
                self._greet(message.words)
            case "serve" if self._options is not None and self.tree is None:
                self._serve(message.take_fd(), self._options)
            case other:
                raise ChannelError(f"{other!r} is not asked now")

    def _greet(self, words: Words) -> None:
        """Tell what the agents of its tree are to be told."""
        if words["version"] != VERSION:
            why = "the daemon is of another version of softsgx: restart it"
            self._offer({"refused": why})
            return
        why = self._daemon.objection(self.peer)
        if why:
            self._offer({"refused": why})
            return
        guest = str(words.get("guest") or "")
        machine = self._daemon.machine_of(guest)
        self._options = options = RunOptions(
            platform=self._daemon.platform,
            first=self.peer.pid,
            exact=bool(words["exact"]),
            inject=frozenset(map(str, words["inject"])),
        )
        if guest:
            self._programs = Programs(self.peer)
            self.guest = guest
        config = machine.injector(exact=options.exact).config
        self._offer({"config": config.hex(), "rewrite_cpuid": machine.rewrite_cpuid})

    def _serve(self, fd: int, options: RunOptions) -> None:
        if not is_listener(fd):
            os.close(fd)
            raise ChannelError("that is no listener")
        try:
            listener = NotedListener(fd)
        except OSError:
            os.close(fd)
            raise
        try:
            self.tree = Attached(self._daemon, self, listener, options)
        except (OSError, PlatformError):
            listener.close()
            raise
        self._offer({"serves": True}, [listener.ledger_fd])

    # ---- what it is told ----

    def say(self, line: str) -> None:
        """Tell its user; not, if it does not listen."""
        if len(self._pending) < _MOST_UNSAID:
            self._offer({"say": line})

    def keep(self, kind: str, fd: int) -> Callable[[], None]:
        """Have it keep a descriptor for the time after us; return what ends that."""
        self._number += 1
        number = self._number
        self._offer({"keep": number, "kind": kind}, [fd])
        return lambda: self._drop(number)

    def _drop(self, number: int) -> None:
        for at, (words, fds) in enumerate(self._pending):
            if words.get("keep") == number:
                os.close(fds[0])
                del self._pending[at]
                return
        self._offer({"drop": number})

    def _offer(self, words: Words, fds: Sequence[int] = ()) -> None:
        """Send it a message, now or when it listens again."""
        if self._channel is None:
            return
        if self.flush():
            try:
                self._channel.offer(words, fds)
            except OSError as error:
                if _is_for_good(error):
                    return
            else:
                return
        self._pending.append((words, [os.dup(fd) for fd in fds]))
        self._daemon.wake()

    @property
    def has_unsaid(self) -> bool:
        """Whether a message waits for it to listen."""
        return bool(self._pending)

    def flush(self) -> bool:
        """Send what waits; say whether that was all."""
        while self._pending and self._channel:
            words, fds = self._pending[0]
            try:
                self._channel.offer(words, fds)
            except OSError as error:
                if not _is_for_good(error):
                    return False
            self._forget_first()
        return True

    def _forget_first(self) -> None:
        _, fds = self._pending.popleft()
        for fd in fds:
            os.close(fd)

    def _told(self, thing: Thing) -> None:
        """Tell its user, once, that others are to have something as well."""
        if thing not in self._told_of:
            self._told_of.add(thing)
            what = f"the daemon's {thing.value}"
            self.say(f"{what}: all are in use, or all of your share")

    # ---- ends ----

    def kill(self) -> None:
        """Kill the programs of a client that is in a guest."""
        if self._programs:
            self._programs.kill()
        with self._daemon.turn:
            if self.tree and self.tree.serving:
                self.tree.serving.tree.kill()

    def hang_up(self) -> None:
        """End the connection; a tree that was lent is served on."""
        if self._channel is not None:
            self._daemon.loop.forget(self._channel.fd)
            self._channel.close()
            self._channel = None
        while self._pending:
            self._forget_first()
        if self.tree is None:
            self._daemon.forget(self)
            if self._programs:
                self._programs.close()
                self._programs = None


def _is_for_good(error: OSError) -> bool:
    """Say whether what could not be sent now never can."""
    return error.errno not in (errno.EAGAIN, errno.ENOBUFS, errno.ETOOMANYREFS)


class Attached:
    """The tree of processes behind one listener."""

    def __init__(
        self,
        daemon: "Daemon",
        session: Session,
        listener: NotedListener,
        options: RunOptions,
    ):
        self._daemon, self._session, self._listener = daemon, session, listener
        self._options = options
        self._machine = daemon.machine_of(session.guest)
        self.is_closed = False
        self.loop = Loop(last=listener.fd)
        injector = self._machine.injector(exact=options.exact)
        root = session.peer.pid
        self._execs = Execs(listener, daemon.code, injector, session.say, root)
        self._supervisor = _Following(self, listener, daemon.turn)
        places = _Places(session.account)
        self._crew = Crew(daemon.turn, self.loop, self._supervisor, places)
        self.serving: Serving | None = None
        self.is_retired = False

    def start(self) -> None:
        """Begin to serve; a client for whom there are no threads is let go."""
        try:
            self._crew.start()
        except OSError as error:
            with self._daemon.turn:
                self._session.say(f"the daemon cannot serve: {error.strerror}")
            self._daemon.leaving.append(self)
        else:
            self._daemon.loop.on_readable(self._crew.over_fd, self._over)

    def execs(self) -> Execs:
        """Return what follows its execves."""
        return self._execs

    def make_sgx(self, loop: Loop, turn: Turn) -> Sgx:
        """Make what answers its calls."""
        self.serving = self._machine.serving(loop, turn, self._options)
        return self.serving

    def begins(self) -> None:
        """Note that the thread which calls this works for our client."""
        self._daemon.works_for(self._session)

    def _over(self) -> None:
        """Its processes are all gone, or we were told to leave, or a thread died."""
        with suppress(OSError):
            self._daemon.loop.forget(self._crew.over_fd)
        try:
            self._crew.raise_failure()
        except Exception as failure:  # noqa: BLE001 -- the other trees go on
            what = f"{type(failure).__name__}: {failure}"
            self._daemon.complain(f"internal error, one program let go: {what}")
        self._daemon.leaving.append(self)
        self._daemon.wake()

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is known of it that its client must be told."""
        with self._daemon.turn:
            return self._execs.is_quiet

    def retire(self) -> None:
        """Stop serving it, when no call is under way."""
        if not (self.is_retired or self.is_closed):
            self.is_retired = True
            self._crew.retire()

    def let_go(self) -> None:
        """Have the client take the listener back, now."""
        with self._daemon.turn:
            self._session.hang_up()

    def close(self) -> bool:
        """Give everything back; False: a thread is still at work."""
        if not self._crew.close():
            return False
        with self._daemon.turn:
            # What the client keeps it keeps, whatever ends here.
            self._session.tree = None
            self._session.hang_up()
            if self.serving and self._daemon.serves(self._machine):
                self._machine.forget(self.serving)
            elif self.serving:
                self.serving.tree.end()
        self.loop.close()
        self._listener.close()
        self.is_closed = True
        return True


class _Places(Places):
    """Where a tree's threads have to be asked for: at its user's account."""

    def __init__(self, account: Account):
        self._account = account

    def take(self) -> bool:
        """Say whether there can be one more."""
        try:
            self._account.take(Thing.THREADS, 1)
        except OSError:
            return False
        return True

    def give(self, count: int) -> None:
        """Give back what was taken."""
        self._account.give(Thing.THREADS, count)


class _Following(Supervisor):
    """A supervisor that says for whom its threads work."""

    def __init__(self, attached: Attached, listener: NotedListener, turn: Turn):
        self._attached = attached
        super().__init__(
            listener, attached.loop, turn, attached.execs(), attached.make_sgx
        )

    def _call(self, received: bytes) -> None:
        self._attached.begins()
        super()._call(received)
