"""A program's connection to its platform's daemon, from the program's side."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from softsgx.native.loss import lose_power
from softsgx.platform.errors import PlatformError
from softsgx.service.channel import VERSION, Channel, ChannelError, Message, Words
from softsgx.service.places import DATA, connect

_PATIENCE = 20.0
"""Seconds for a daemon to answer: it may have many things to do."""


class Attachment:
    """What a run has of a daemon; *wishes* is how it wants its tree to be served.

    PlatformError: there is one, and it does not serve us; a line that says why.
    """

    def __init__(self, directory: Path, channel: Channel, wishes: Words):
        self._directory, self._wishes = directory, wishes
        self._channel: Channel | None = channel
        self.ledger_fd: int | None = None
        self._enclaves: dict[int, int] = {}
        self._tables: dict[int, int] = {}
        self._lost_tables: list[int] = []
        words = self._greet(channel)
        self.config = bytes.fromhex(words["config"])
        self.rewrite_cpuid = bool(words["rewrite_cpuid"])

    @classmethod
    def to(cls, directory: Path, wishes: Words) -> "Attachment | None":
        """Attach to the daemon of a platform; None: it has none.  OSError."""
        sock = connect(directory, DATA)
        return cls(directory, Channel(sock), wishes) if sock else None

    def __str__(self) -> str:
        return str(self._directory)

    @property
    def fd(self) -> int:
        """The connection's descriptor, for a loop to wait on; -1: there is none."""
        return self._channel.fd if self._channel else -1

    def _greet(self, channel: Channel) -> Words:
        asked = {"ask": "config", "version": VERSION, **self._wishes}
        return self._ask(channel, asked).words

    def _ask(
        self, channel: Channel, words: Words, fds: tuple[int, ...] = ()
    ) -> Message:
        """Ask and wait for the answer; PlatformError."""
        try:
            with suppress(BrokenPipeError):  # it may have said why
                channel.send(words, fds)
            answer = channel.receive(seconds=_PATIENCE)
        except (ChannelError, OSError) as error:
            raise self._failed(f"the daemon does not answer: {error}") from error
        if answer is None:
            raise self._failed("the daemon hung up")
        if "refused" in answer.words:
            raise self._failed(str(answer.words["refused"]))
        return answer

    def _failed(self, why: str) -> PlatformError:
        self.close()
        named = f"{self._directory}: "
        return PlatformError(named + why.removeprefix(named))

    def lend(self, listener_fd: int) -> None:
        """Have the daemon answer the calls of our tree; PlatformError: it does not."""
        channel = self._channel or self._connect_again()
        self.ledger_fd = self._ask(channel, {"ask": "serve"}, (listener_fd,)).take_fd()

    def _connect_again(self) -> Channel:
        try:
            sock = connect(self._directory, DATA)
        except OSError as error:
            raise self._failed(str(error)) from error
        if sock is None:
            raise self._failed("its daemon is gone")
        self._channel = channel = Channel(sock)
        if bytes.fromhex(self._greet(channel)["config"]) != self.config:
            raise self._failed("its daemon serves another machine now: start anew")
        return channel

    def hear(self, say: Callable[[str], None]) -> bool:
        """Take one message of the daemon's, if there is one; False: it is gone."""
        try:
            return self._hear(say)
        except BlockingIOError:
            return True

    def hear_out(self, say: Callable[[str], None]) -> None:
        """Take all messages that came."""
        with suppress(BlockingIOError):
            while self._hear(say):
                pass

    def _hear(self, say: Callable[[str], None]) -> bool:
        try:
            message = self._channel.receive() if self._channel else None
        except BlockingIOError:
            raise
        except (ChannelError, OSError):
            return False
        if message is None:
            return False
        try:
            self._note(message, say)
        except (ChannelError, KeyError):
            return False
        finally:
            message.close()
        return True

    def _note(self, message: Message, say: Callable[[str], None]) -> None:
        words = message.words
        if "say" in words:
            say(str(words["say"]))
        elif "keep" in words:
            kept = self._enclaves if words["kind"] == "enclave" else self._tables
            kept[words["keep"]] = message.take_fd()
        elif "drop" in words:
            for kept in (self._enclaves, self._tables):
                if words["drop"] in kept:
                    os.close(kept.pop(words["drop"]))

    def lose_power(self) -> int:
        """Do to all enclaves what a loss of power does; return how many there were.

        By the userfaultfds, which stay open, pages that were out do not read zeros.
        """
        count = 0
        while self._enclaves:
            _, fd = self._enclaves.popitem()
            with suppress(OSError, ValueError):
                count += lose_power(fd)
            os.close(fd)
        self._lost_tables += self._tables.values()
        self._tables.clear()
        return count

    def close(self) -> None:
        """End the connection."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self.ledger_fd is not None:
            os.close(self.ledger_fd)
            self.ledger_fd = None
