"""Who connects to the daemon's metrics can be anybody, and do anything."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest

from softsgx.driver.core import Core
from softsgx.runner.task.turn import Turn
from softsgx.service import scrapes
from softsgx.service.metrics import serve
from tests.conformance.run import PATIENCE_S
from tests.driver.fakes import World
from tests.service import scraping


@pytest.fixture
def core() -> Core:
    return World().driver


@pytest.fixture
def port(core: Core) -> int:
    return serve(lambda: [("", core)], Turn(), "127.0.0.1", 0)


@pytest.fixture
def crowd(port: int) -> Iterator[list[socket.socket]]:
    """Connections of which nothing comes."""
    socks = [socket.create_connection(("127.0.0.1", port)) for _ in range(60)]
    yield socks
    for sock in socks:
        sock.close()


def test_a_crowd_that_says_nothing_keeps_nobody_out(
    crowd: list[socket.socket], port: int
) -> None:
    assert crowd
    assert scraping.scraped(port)
    assert threading.active_count() < 50


def test_who_sends_a_byte_now_and_then_is_sent_away(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrapes, "_PATIENCE_S", 1.0)
    begin = time.monotonic()
    with socket.create_connection(("127.0.0.1", port)) as sock:
        while is_open(sock):
            assert time.monotonic() < begin + PATIENCE_S
            time.sleep(0.1)
    assert time.monotonic() > begin + 1


def is_open(sock: socket.socket) -> bool:
    """Send a byte, and say whether anybody wants more."""
    try:
        sock.sendall(b"G")
    except OSError:
        return False
    return True


def test_metrics_can_be_had_by_ipv6(core: Core) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    port = serve(lambda: [("", core)], Turn(), "::1", 0)
    with socket.create_connection(("::1", port)) as sock:
        sock.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert b"200 OK" in sock.makefile("rb").read()
