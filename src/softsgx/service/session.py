"""One client: its connection to the data channel, and what it is told.

A client is not trusted.  All that it may do is lend listeners: who makes a call, and
which, the daemon believes the kernel alone.
"""

import errno
import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from softsgx.driver.epc.account import Account, Scarce
from softsgx.native.ledger import NotedListener, is_listener
from softsgx.platform.errors import PlatformError
from softsgx.runner.options import RunOptions
from softsgx.service.attached import Attached
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
        self._told_of: set[Scarce] = set()
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

    def _told(self, thing: Scarce) -> None:
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
