"""The control channel: what the operator of a daemon may ask, and the asking.

A line of JSON each way: {"method": ..., "params": {...}}, and {"result": ...} or
{"error": "one line"}.  Who may connect may ask everything.
"""

import json
import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from softsgx.platform.audit import Who
from softsgx.platform.errors import PlatformError
from softsgx.runner.task.threads import has_ended
from softsgx.service import watch
from softsgx.service.cgroups import get_cgroup, list_cgroups, set_cgroup
from softsgx.service.channel import Peer, Words, peer_of, pidfd_of
from softsgx.service.places import CONTROL, connect

if TYPE_CHECKING:
    from softsgx.service.daemon import Daemon

_MOST_ASKING = 32
_MAX_QUESTION = 1 << 16
_PATIENCE = 30.0
"""Seconds for a question to come, or an answer to go."""


@dataclass(frozen=True)
class Asker(Peer):
    """Who connected, as he was then: his number can be another's later."""

    who: Who


class Unserved(PlatformError):  # noqa: N818 -- a state, not a defect
    """There is no daemon for that platform."""


Method = Callable[["Daemon", Words, "Asker"], Any]
"""Answers with what JSON can say; PlatformError has a line for the operator.

It takes the daemon's turn itself, where it looks at what trees share.
"""


def _ping(daemon: "Daemon", params: Words, peer: Peer) -> Words:
    del params, peer
    with daemon.turn:
        return {
            "platform": str(daemon.platform.directory),
            "identity": daemon.platform.identity,
            "programs": sum(session.tree is not None for session in daemon.sessions),
        }


def _reset(daemon: "Daemon", params: Words, asker: Asker) -> Words:
    kexec = bool(params.get("kexec"))
    if not kexec:
        daemon.platform.policies().reset(asker.who)
    found = daemon.on_main(lambda: daemon.start_anew(asker.who, kexec=kexec))
    return {"sanitized": found}


def _start_guest(daemon: "Daemon", params: Words, asker: Asker) -> None:
    name = str(params["name"])
    daemon.on_main(lambda: daemon.guests.start(name, asker.who))


def _stop_guest(daemon: "Daemon", params: Words, asker: Asker) -> None:
    name = str(params["name"])
    daemon.on_main(lambda: daemon.guests.stop(name, asker.who))


def _reset_guest(daemon: "Daemon", params: Words, asker: Asker) -> None:
    name = str(params["name"])
    daemon.on_main(lambda: daemon.guests.reset(name, asker.who))


METHODS: dict[str, Method] = {
    "ping": _ping,
    "reset": _reset,
    "guest.start": _start_guest,
    "guest.stop": _stop_guest,
    "guest.reset": _reset_guest,
    "cgroup.list": list_cgroups,
    "cgroup.get": get_cgroup,
    "cgroup.set": set_cgroup,
    "machine": watch.machine,
    "enclaves": watch.enclaves,
    "pages": watch.pages,
    "threads": watch.threads,
}
"""What can be asked, by its name."""


# ---- the daemon's side ----


class ControlRoom:
    """Answers questions, each connection in a thread of its own."""

    def __init__(self, daemon: "Daemon"):
        self._daemon = daemon
        self._places = threading.BoundedSemaphore(_MOST_ASKING)

    def accept(self, listening: socket.socket) -> None:
        """Take a connection; one too many is closed at once."""
        with suppress(OSError):
            sock, _ = listening.accept()
            if not self._places.acquire(blocking=False):
                sock.close()
                return
            sock.settimeout(_PATIENCE)
            told = (sock, _asker(sock))
            thread = threading.Thread(target=self._converse, args=told, daemon=True)
            try:
                thread.start()
            except RuntimeError:  # there can be no more
                self._places.release()
                sock.close()

    def _converse(self, sock: socket.socket, asker: Asker) -> None:
        try:
            with suppress(OSError), sock, sock.makefile("rwb") as lines:
                while question := lines.readline(_MAX_QUESTION):
                    answer = self._answer(question, asker)
                    lines.write(json.dumps(answer).encode() + b"\n")
                    lines.flush()
        finally:
            self._places.release()

    def _answer(self, question: bytes, asker: Asker) -> Words:
        try:
            words = json.loads(question)
            method = METHODS[words["method"]]
            params = dict(words.get("params", {}))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            return {"error": f"not understood: {error}"}
        try:
            return {"result": method(self._daemon, params, asker)}
        except (PlatformError, OSError) as error:
            return {"error": str(error)}
        except Exception as error:  # noqa: BLE001 -- the daemon outlives it
            what = f"internal error: {type(error).__name__}: {error}"
            self._daemon.complain(what)
            return {"error": what}


def _asker(sock: socket.socket) -> Asker:
    """Say who connected; what /proc says of him, if he is still there."""
    peer = peer_of(sock)
    who = Who(pid=peer.pid, uid=peer.uid, exe="", cgroup="")
    with suppress(OSError):
        pidfd = pidfd_of(sock)
        try:
            seen = Who.of(peer.pid)
            if not has_ended(pidfd):
                who = replace(seen, uid=peer.uid)
        finally:
            os.close(pidfd)
    return Asker(peer.pid, peer.uid, peer.gid, who)


# ---- the operator's side ----


class Operator:
    """A connection to a platform's daemon, until its `with` block ends.

    Unserved: it has none; PlatformError: not for this user; OSError.
    """

    def __init__(self, directory: Path):
        try:
            sock = connect(directory, CONTROL)
        except PermissionError as error:
            said = "only root and who runs its daemon may ask that"
            raise PlatformError(f"{directory}: {said}") from error
        if sock is None:
            said = "no daemon serves this platform; `softsgx daemon` does"
            raise Unserved(f"{directory}: {said}")
        self._directory = directory
        self._lines = sock.makefile("rwb")
        sock.close()

    def ask(self, method: str, **params: object) -> Any:  # noqa: ANN401 -- what JSON has
        """Ask, and return the answer; PlatformError says why there is none."""
        question = {"method": method, "params": params}
        try:
            self._lines.write(json.dumps(question).encode() + b"\n")
            self._lines.flush()
            line = self._lines.readline()
        except OSError:
            line = b""
        if not line.endswith(b"\n"):
            raise PlatformError(f"{self._directory}: the daemon went away")
        answer = json.loads(line)
        if "error" in answer:
            named = f"{self._directory}: "
            raise PlatformError(named + answer["error"].removeprefix(named))
        return answer["result"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        del raised
        self._lines.close()
