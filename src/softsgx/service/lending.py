"""A run whose platform has a daemon: it starts its program, and lends the listener.

Until the program uses SGX everything is as in a run without a daemon.  Its first call
that needs the platform is not answered but made again; by then the daemon receives it.
"""

import errno
from functools import partial
from time import sleep

from softsgx.native.ledger import unanswered
from softsgx.native.notify import Listener, Notification
from softsgx.native.numbers import Call
from softsgx.platform.errors import PlatformError
from softsgx.runner.execs import Execs
from softsgx.runner.loop import Loop
from softsgx.runner.start import complain, start
from softsgx.runner.supervisor import Supervisor
from softsgx.runner.turn import Turn
from softsgx.service.attachment import Attachment
from softsgx.service.lost import no_driver

_MOMENT = 0.001


def run_attached(argv: list[str], attachment: Attachment) -> int:
    """Do what `runner.run` does, on the machine of a daemon."""
    return start(
        argv,
        attachment.config,
        partial(Lending, attachment),
        rewrite_cpuid=attachment.rewrite_cpuid,
    )


class Lending(Supervisor):
    """A tree whose calls a daemon answers, from the first that needs SGX on."""

    def __init__(
        self,
        attachment: Attachment,
        listener: Listener,
        loop: Loop,
        turn: Turn,
        execs: Execs,
    ):
        super().__init__(listener, loop, turn, execs, no_driver)
        self._attachment = attachment
        self._is_told = False
        """The user knows that we have no platform."""

    def _agent_call(self, call: Notification) -> None:
        if call.args[0] == Call.FORKED or not self._lend(call):
            super()._agent_call(call)

    def _lend(self, call: Notification) -> bool:
        """Lend the listener, and have the call made again; False: nobody wants it."""
        aside = self._caller(call).aside()
        if not self._execs.is_quiet:
            # What is known of a program that starts cannot be handed over.
            with aside:
                sleep(_MOMENT)
            self._again(call)
            return True
        self._loop.forget(self._listener.fd)
        try:
            with aside:
                self._attachment.lend(self._listener.fd)
        except PlatformError as error:
            if not self._is_told:
                complain(str(error))
            self._is_told = True
            self._loop.on_call(self._listener.fd, self._call)
            return False
        self._is_told = False
        self._loop.on_hang_up(self._listener.fd, self._hung_up)
        self._loop.on_readable(self._attachment.fd, self._hear)
        self._again(call)
        return True

    def _again(self, call: Notification) -> None:
        self._listener.answer(call.id, 0, errno.EINTR)

    def _hung_up(self) -> None:
        self.is_done = not self.has_callers()

    def _hear(self) -> None:
        if self._attachment.hear(complain):
            return
        if self.has_callers():
            self._lost()
        else:
            self._hung_up()  # the daemon, which saw it before, let us go

    def _lost(self) -> None:
        """Take the listener back: the platform lost its power."""
        if not self.has_callers():
            # Of a tree that is gone the daemon has nothing more to tell.
            self._loop.forget(self._attachment.fd)
            self._attachment.close()
            self.is_done = True
            return
        count = self._attachment.lose_power()
        if count:
            enclaves = "an enclave is" if count == 1 else f"{count} enclaves are"
            why = "the daemon ended, or the platform was reset"
            complain(f"{self._attachment}: {why}: {enclaves} lost")
            self._is_told = True
        self._loop.forget(self._attachment.fd)
        self._loop.forget(self._listener.fd)
        self._loop.on_call(self._listener.fd, self._call)
        ledger_fd = self._attachment.ledger_fd
        calls = [] if ledger_fd is None else unanswered(ledger_fd, self._listener.fd)
        for call in list(calls):
            self._take(call)
        self._attachment.close()
