"""An HTTP server for few, short questions: anybody on the machine may connect to it."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from socketserver import ThreadingMixIn
from time import monotonic
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

_MOST = 8
"""Connections at once: for one more the oldest has to go."""
_PATIENCE_S = 10.0
"""Seconds for a question to come and its answer to go, whatever is sent meanwhile."""


class _Quiet(WSGIRequestHandler):
    """Says nothing of who asked."""

    def log_message(self, *words: object) -> None:
        """Print no line."""


class ScrapeServer(ThreadingMixIn, WSGIServer):
    """Answers by a WSGI application, each connection in a thread; OSError."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, host: str, port: int, app: Callable[..., Any]):
        found = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        self.address_family = found[0][0]
        self._since: dict[socket.socket, float] = {}
        self._lock = threading.Lock()
        self._places = threading.Semaphore(_MOST)
        super().__init__((host, port), _Quiet)
        self.set_app(app)

    def start(self) -> None:
        """Serve from now on."""
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 -- its own
        """Answer in a thread of its own, when there is a place."""
        with self._lock:
            self._since[request] = monotonic()
            if len(self._since) > _MOST:
                self._send_away(next(iter(self._since)))
        self._places.acquire()  # of who was sent away, if all are taken
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # there can be no more threads
            self.shutdown_request(request)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 -- its own
        """Take note that a connection ends."""
        with self._lock:
            self._since.pop(request, None)
            super().shutdown_request(request)
        self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 -- its own
        """Say nothing of one who went away, or was sent away."""

    def service_actions(self) -> None:
        """Send away who takes too long; called now and then."""
        latest = monotonic() - _PATIENCE_S
        with self._lock:
            late = [one for one, since in self._since.items() if since < latest]
            for request in late:
                self._send_away(request)

    def _send_away(self, request: socket.socket) -> None:
        """Have the thread that waits for it see an end."""
        del self._since[request]
        with suppress(OSError):  # it went away by itself
            request.shutdown(socket.SHUT_RDWR)
