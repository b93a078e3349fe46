"""A run whose platform has a daemon: it starts its program, and lends the listener.

Until the program uses SGX everything is as in a run without a daemon.  Its first call
that needs the platform is not answered but made again; by then the daemon receives it.
"""

import errno
from functools import partial
from time import sleep

from softsgx.native.ledger import unanswered
from softsgx.native.notify import NOTIF, Listener, Notification
from softsgx.native.numbers import Call
from softsgx.platform.errors import PlatformError
from softsgx.runner.execs import Execs
from softsgx.runner.loop import Loop
from softsgx.runner.start import complain, start
from softsgx.runner.supervisor import Sgx, Supervisor
from softsgx.runner.task.caller import Caller
from softsgx.runner.task.turn import Turn
from softsgx.service.attachment import Attachment

_MOMENT = 0.001


def run_attached(argv: list[str], attachment: Attachment) -> int:
    """Do what `runner.run` does, on the machine of a daemon."""
    return start(
        argv,
        attachment.config,
        partial(Lending, attachment),
        rewrite_cpuid=attachment.rewrite_cpuid,
        ended=partial(attachment.hear_out, complain),
    )


def _no_driver(loop: Loop, turn: Turn) -> Sgx:
    # Imported when the daemon is gone: it is the half of what a run could need.
    from softsgx.service.lost import no_driver  # noqa: PLC0415 -- see above

    return no_driver(loop, turn)


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
        super().__init__(listener, loop, turn, execs, _no_driver)
        self._attachment = attachment
        self._is_lending = False
        self._is_told = False
        """The user knows that we have no platform."""

    def _agent_call(self, call: Notification) -> None:
        if call.args[0] == Call.FORKED:
            super()._agent_call(call)
        elif self._is_lending:
            self._again(call)
        else:
            self._is_lending = True
            is_wanted = self._lend(self._caller(call))
            self._is_lending = False
            if is_wanted:
                self._again(call)
            else:
                super()._agent_call(call)

    def _lend(self, caller: Caller) -> bool:
        """Lend the listener, if that can be now; False: no daemon wants it."""
        self._loop.forget(self._listener.fd)
        self._loop.on_hang_up(self._listener.fd, self._late)
        with caller.aside():
            sleep(_MOMENT)  # another thread may have a call in its hands
        if not self._execs.is_quiet:
            # What is known of a program that starts cannot be handed over.
            self._receive()
            return True
        try:
            with caller.aside():
                self._attachment.lend(self._listener.fd)
        except PlatformError as error:
            if not self._is_told:
                complain(str(error))
            self._is_told = True
            self._receive()
            return False
        self._is_told = False
        self._loop.on_readable(self._attachment.fd, self._hear)
        return True

    def _again(self, call: Notification) -> None:
        """Have a call made again, for who receives it then."""
        self._listener.answer(call.id, 0, errno.EINTR)

    def _receive(self) -> None:
        """Receive the tree's calls from now on."""
        self._loop.forget(self._listener.fd)
        self._loop.on_call(self._listener.fd, self._call)

    def _late(self, received: bytes) -> None:
        """Carry out a call that came before; or nobody is left who could make one."""
        if received:
            self._take(Notification(NOTIF.unpack(received)))
        else:
            self.is_done = not self.has_callers()

    def _hear(self) -> None:
        if not self._attachment.hear(complain):
            self._lost()

    def _lost(self) -> None:
        """Take the listener back: the platform lost its power."""
        if not self.has_callers():
            # The daemon, which saw it before, let us go.
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
        self._receive()
        ledger_fd = self._attachment.ledger_fd
        calls = [] if ledger_fd is None else unanswered(ledger_fd, self._listener.fd)
        for call in list(calls):
            self._take(call)
        self._attachment.close()
