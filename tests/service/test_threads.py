"""A daemon without threads or descriptors to spare goes on for those that it serves."""

import json
import os
import resource
import socket
import threading
from pathlib import Path

import pytest

from softsgx.platform.platform import Platform
from softsgx.runner import crew
from softsgx.service import session
from softsgx.service.channel import Channel, Words
from softsgx.service.control import ControlRoom
from softsgx.service.daemon import Daemon
from softsgx.service.session import Session
from tests.service.serving import new_platform

GREETING = {"ask": "config", "version": 2, "exact": False, "inject": []}


def no_thread(*_: object) -> int:
    raise RuntimeError("can't start new thread")


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    return Daemon(Platform.open(new_platform(tmp_path / "p")))


def test_a_client_for_whom_there_are_none_is_told(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "start_new_thread", no_thread)
    monkeypatch.setattr(session, "is_listener", lambda _: True)
    ours, theirs = Channel.pair()
    daemon.sessions.add(Session(daemon, theirs))
    ours.send(GREETING)
    daemon._serve_once()
    lent = os.eventfd(0)
    ours.send({"ask": "serve"}, [lent])
    daemon._serve_once()
    os.close(lent)
    said: list[Words] = []
    while message := ours.receive():
        said.append(message.words)
        message.close()
    ours.close()
    assert said[-1] == {"say": "the daemon cannot serve: no thread can be made"}
    assert not daemon.sessions


def test_an_operator_for_whom_there_are_none_can_come_again(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    room = ControlRoom(daemon)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        monkeypatch.setattr(threading.Thread, "start", no_thread)
        for _ in range(40):
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(tmp_path / "s"))
                room.accept(listening)
                assert sock.recv(1) == b""
        monkeypatch.undo()
        with socket.socket(socket.AF_UNIX) as sock:
            sock.connect(str(tmp_path / "s"))
            room.accept(listening)
            sock.sendall(b'{"method": "ping"}\n')
            answer = json.loads(sock.makefile().readline())
            assert answer["result"]["programs"] == 0


def test_a_client_for_whom_there_is_no_descriptor_is_turned_away(
    daemon: Daemon, tmp_path: Path
) -> None:
    kind = socket.SOCK_SEQPACKET
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with (
        socket.socket(socket.AF_UNIX, kind) as listening,
        socket.socket(socket.AF_UNIX, kind) as first,
        socket.socket(socket.AF_UNIX, kind) as second,
    ):
        listening.bind(str(tmp_path / "s"))
        listening.listen()
        first.connect(str(tmp_path / "s"))
        free = os.dup(0)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
        daemon._accept(listening)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        said = b'{"refused": "it has no descriptor left for a run"}'
        assert (first.recv(100), first.recv(1)) == (said, b"")
        assert not daemon.sessions
        second.connect(str(tmp_path / "s"))
        daemon._accept(listening)
        (admitted,) = daemon.sessions
        admitted.hang_up()
