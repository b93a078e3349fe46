"""What a service manager hands over and hears."""

import os
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from softsgx.service.manager import passed_sockets, tell_manager
from softsgx.service.places import CONTROL, DATA
from tests.conformance.run import PATIENCE_S, SOFTSGX, run
from tests.conformance_sgx.build import Program
from tests.house.tree import ROOT
from tests.service.serving import Served, new_platform, wait_for

KEYS = Program("report_key", "dynamic")


def test_nothing_is_taken_that_was_passed_to_another() -> None:
    environ = {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "x", "A": "b"}
    assert passed_sockets(environ) == {}
    assert environ == {"A": "b"}
    assert passed_sockets({}) == {}


@pytest.mark.runner
@pytest.mark.slow
def test_what_is_no_socket_of_ours_is_refused(tmp_path: Path) -> None:
    directory = new_platform(tmp_path / "p")
    daemon = f"{SOFTSGX} daemon --platform {directory}"
    script = f"exec 3</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec {daemon}"
    done = run(["/bin/bash", "-c", script], tmp_path)
    assert (done.code, done.stderr) == (
        1,
        "softsgx: descriptor 3 is no socket of ours\n",
    )


@pytest.mark.parametrize("where", ["/", "@"])
def test_the_manager_is_told(tmp_path: Path, where: str) -> None:
    name = f"{tmp_path}/n" if where == "/" else f"@softsgx-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0", 1))
        tell_manager("READY=1", {"NOTIFY_SOCKET": name})
        assert manager.recv(64) == b"READY=1"
    tell_manager("READY=1", {"NOTIFY_SOCKET": name})  # it went away: no matter
    tell_manager("READY=1", {})


@pytest.mark.runner
@pytest.mark.slow
def test_a_daemon_serves_the_sockets_that_it_was_given(tmp_path: Path) -> None:
    directory = new_platform(tmp_path / "p")
    passed = [
        socket.socket(socket.AF_UNIX, kind)
        for kind in (socket.SOCK_STREAM, socket.SOCK_SEQPACKET)
    ]
    for sock, name in zip(passed, (CONTROL, DATA), strict=True):
        sock.bind(str(directory / name))
        sock.listen()
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(f"{tmp_path}/notify")
    manager.settimeout(PATIENCE_S)
    one, other = (sock.fileno() for sock in passed)
    # A shell knows its pid, which will be the daemon's, and puts sockets at 3 and 4.
    script = (
        f"exec 3<&{one} 4<&{other}; LISTEN_PID=$$ LISTEN_FDS=2 exec"
        f" {SOFTSGX} daemon --platform {directory}"
    )
    process = subprocess.Popen(
        ["/bin/bash", "-c", script],
        pass_fds=(one, other),
        env={**os.environ, "NOTIFY_SOCKET": f"{tmp_path}/notify"},
        stdout=subprocess.DEVNULL,
    )
    try:
        assert manager.recv(64) == b"READY=1"
        done = Served(directory, process, tmp_path).run(KEYS.binary())
        assert (done.code, done.stderr) == (0, "")
        process.send_signal(signal.SIGTERM)
        assert manager.recv(64) == b"STOPPING=1"
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        for sock in (*passed, manager):
            sock.close()


def has(tool: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not shutil.which(tool), reason=f"no {tool}")


@has("systemd-analyze")
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path) -> None:
    names = []
    for unit in (ROOT / "examples" / "systemd").iterdir():
        text = unit.read_text().replace("/usr/local/bin/softsgx", SOFTSGX)
        (tmp_path / unit.name).write_text(text)
        names.append(unit.name.replace("@.", "@lab."))
    done = subprocess.run(
        ["systemd-analyze", "verify", *names],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert len(names) == 3
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@has("systemd-socket-activate")
@pytest.mark.runner
@pytest.mark.slow
def test_systemd_starts_a_daemon_for_the_first_program(tmp_path: Path) -> None:
    directory = new_platform(tmp_path / "p")
    place = str(directory / DATA)
    daemon = [SOFTSGX, "daemon", "--platform", str(directory)]
    said = tmp_path / "said"
    with said.open("wb") as file:
        manager = subprocess.Popen(
            ["systemd-socket-activate", "--seqpacket", "-l", place, *daemon],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
    try:
        wait_for("Listening on", said)
        served = Served(directory, manager, said)
        done = served.run(KEYS.binary())
        assert (done.code, done.stderr) == (0, "")
        assert f"{directory}: softsgx-" in said.read_text()
        assert served.end() == 0
    finally:
        manager.kill()
        manager.wait()
