"""The tree of a client that lent us its listener: who answers its calls."""

from contextlib import suppress
from typing import TYPE_CHECKING

from softsgx.driver.epc.account import Account, Scarce
from softsgx.native.ledger import NotedListener
from softsgx.runner.crew import Crew, Places
from softsgx.runner.execs import Execs
from softsgx.runner.loop import Loop
from softsgx.runner.options import RunOptions
from softsgx.runner.serving import Serving
from softsgx.runner.supervisor import Sgx, Supervisor
from softsgx.runner.task.turn import Turn

if TYPE_CHECKING:
    from softsgx.service.daemon import Daemon
    from softsgx.service.session import Session


class Attached:
    """The tree of processes behind one listener."""

    def __init__(
        self,
        daemon: "Daemon",
        session: "Session",
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
            self._account.take(Scarce.THREADS, 1)
        except OSError:
            return False
        return True

    def give(self, count: int) -> None:
        """Give back what was taken."""
        self._account.give(Scarce.THREADS, count)


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
