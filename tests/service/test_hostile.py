"""Clients that do to a daemon what they should not, and operators who err."""

import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from softsgx.service.places import CONTROL, DATA, connect
from tests.conformance.run import ANYBODYS, SOFTSGX, run
from tests.conformance_sgx.build import Program
from tests.service.others import KEYS, a_reachable_place, as_nobody, is_root
from tests.service.serving import PATIENCE_S, Served, daemon, new_platform

pytestmark = [pytest.mark.runner, pytest.mark.slow]
PAGING = Program("more_than_epc", "dynamic")
HELLO = b'{"ask": "config", "version": 2, "exact": false, "inject": []}'


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    directory = new_platform(tmp_path_factory.mktemp("served") / "p")
    with daemon(directory) as one:
        assert one.run(KEYS.binary()).code == 0  # it has all that it will keep open
        yield one


def open_fds(served: Served) -> int:
    return sum(1 for _ in Path(f"/proc/{served.process.pid}/fd").iterdir())


def data(served: Served) -> socket.socket:
    sock = connect(served.directory, DATA)
    assert sock
    sock.settimeout(PATIENCE_S)
    return sock


def say_nothing(sock: socket.socket) -> None:
    del sock


def say_rubbish(sock: socket.socket) -> None:
    sock.send(b"\xff\x00{")


def nest_too_deep(sock: socket.socket) -> None:
    sock.send(b'{"ask": ' + b"[" * 30000)


def say_too_much(sock: socket.socket) -> None:
    sock.send(b" " * 100_000)


def ask_for_nothing_known(sock: socket.socket) -> None:
    sock.send(b'{"ask": ["config"], "version": 2}')


def serve_without_a_greeting(sock: socket.socket) -> None:
    sock.send(b'{"ask": "serve"}')


def lend_what_is_no_listener(sock: socket.socket) -> None:
    sock.send(HELLO)
    sock.recv(1 << 17)
    with Path("/dev/null").open("rb") as file:
        socket.send_fds(sock, [b'{"ask": "serve"}'], [file.fileno()])


def lend_many(sock: socket.socket) -> None:
    sock.send(HELLO)
    sock.recv(1 << 17)
    socket.send_fds(sock, [b'{"ask": "serve"}'], [0] * 200)


def be_of_another_version(sock: socket.socket) -> None:
    sock.send(HELLO.replace(b'"version": 2', b'"version": 2'))


@pytest.mark.parametrize(
    "mischief",
    [
        say_nothing,
        say_rubbish,
        nest_too_deep,
        say_too_much,
        ask_for_nothing_known,
        serve_without_a_greeting,
        lend_what_is_no_listener,
        lend_many,
        be_of_another_version,
    ],
)
def test_a_client_that_misbehaves_harms_nobody(
    served: Served, mischief: Callable[[socket.socket], None]
) -> None:
    before = open_fds(served)
    socks = [data(served) for _ in range(5)]
    for sock in socks:
        mischief(sock)
    done = served.run(KEYS.binary())
    assert (done.code, done.stderr) == (0, "")
    for sock in socks:
        sock.close()
    end = time.monotonic() + PATIENCE_S
    while open_fds(served) > before and time.monotonic() < end:
        time.sleep(0.05)
    assert open_fds(served) <= before  # it may still have had one of another test's


def test_a_client_that_asked_wrongly_hears_it(served: Served) -> None:
    with data(served) as sock:
        sock.send(b'{"ask": "serve"}')
        assert b'"refused": "not understood: ' in sock.recv(1 << 16)
        assert sock.recv(1 << 16) == b""


def test_an_operator_that_misbehaves_hears_an_error(served: Served) -> None:
    sock = connect(served.directory, CONTROL)
    assert sock
    sock.settimeout(PATIENCE_S)
    with sock, sock.makefile("rwb") as lines:
        for question in (b"x\n", b"[]\n", b'{"method": "rm"}\n', b'{"method": []}\n'):
            lines.write(question)
            lines.flush()
            assert lines.readline().startswith(b'{"error": "not understood: ')
    assert served.is_at_rest()


def test_a_stopped_client_does_not_hold_up_others(served: Served) -> None:
    script = f"kill -STOP $PPID; for i in 1 2 3; do {KEYS.binary()}; done"
    stopped = served.start("sh", "-c", f"{KEYS.binary()}; {script}")
    try:
        done = served.run(KEYS.binary())
        assert (done.code, done.stderr) == (0, "")
    finally:
        stopped.kill()
        stopped.wait()


# ---- operators ----


def test_a_second_daemon_is_one_line(served: Served) -> None:
    command = [SOFTSGX, "daemon", "--platform", str(served.directory)]
    done = run(command, served.directory)
    pid = served.process.pid
    said = f"{served.directory}: a daemon serves this platform already (pid {pid})"
    assert (done.code, done.stderr) == (1, f"softsgx: {said}\n")
    assert served.run(KEYS.binary()).code == 0


def test_a_platform_is_not_deleted_under_its_daemon(served: Served) -> None:
    done = run(
        [SOFTSGX, "platform", "delete", "--yes", str(served.directory)],
        served.directory,
    )
    assert done.code == 1
    assert "a daemon serves this platform already" in done.stderr
    assert (served.directory / "seed").exists()


def test_what_a_daemon_left_that_was_killed_is_replaced(tmp_path: Path) -> None:
    directory = new_platform(tmp_path / "p")
    with daemon(directory) as first:
        keys = first.run(KEYS.binary()).stdout
    assert (directory / DATA).exists()
    alone = run(first.command(KEYS.binary()), tmp_path)
    assert (alone.code, alone.stdout, alone.stderr) == (0, keys, "")
    with daemon(directory) as second:
        assert second.run(KEYS.binary()).stdout == keys


def test_a_platform_of_the_future_is_one_line(tmp_path: Path) -> None:
    directory = new_platform(tmp_path / "p")
    record = directory / "platform.toml"
    text = record.read_text()
    record.write_text(text.replace("version = ", "version = 9"))
    assert record.read_text() != text
    done = run([SOFTSGX, "daemon", "--platform", str(directory)], tmp_path)
    assert done.code == 1
    assert done.stderr.startswith(f"softsgx: {record}: ")
    assert done.stderr.count("\n") == 1


def test_what_needs_a_machine_of_its_own_does_not_go_with_a_daemon(
    served: Served,
) -> None:
    for option in ("--trace", "-c"):
        done = served.run(KEYS.binary(), options=(option,))
        said = "--trace, --trace-file and -c need a machine of their own:"
        assert done.code == 125
        assert done.stderr.startswith(f"softsgx: {said} ")


@is_root
def test_a_full_disk_for_the_log_launches_nothing_and_loses_nothing(
    tmp_path: Path,
) -> None:
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(place)]
    if run(mount, tmp_path).code:
        pytest.skip("cannot mount")
    try:
        directory = new_platform(place / "p")
        with daemon(directory) as served:
            assert served.run(KEYS.binary()).code == 0
            fill = ["dd", "if=/dev/zero", "bs=4096", f"of={place}/fill"]
            assert "No space left" in run(fill, tmp_path).stderr
            full = served.run(KEYS.binary())
            assert full.code != 0
            said = [line for line in full.stderr.splitlines() if "softsgx:" in line]
            assert "No space left on device" in said[0]
            (place / "fill").unlink()
            assert served.run(KEYS.binary()).code == 0
            done = run(
                [SOFTSGX, "audit", "verify", "--platform", str(directory)], place
            )
            assert done.code == 0, done.stderr
            served.kill()
    finally:
        run(["umount", str(place)], tmp_path)


# ---- other users ----


@pytest.fixture
def reachable() -> Iterator[Path]:
    with a_reachable_place() as place:
        yield place


@is_root
def test_another_user_attaches_if_the_daemon_lets_him(reachable: Path) -> None:
    directory = new_platform(reachable / "p")
    with daemon(directory) as closed:
        code, _, said = as_nobody(*closed.command("/bin/true"))
        hint = "Permission denied (the daemon's --group says who may)"
        assert (code, said) == (125, f"softsgx: {directory}/data.sock: {hint}\n")
        closed.end()
    with daemon(directory, "--group", "all") as served:
        code, _, said = as_nobody(*served.command("/bin/true"))
        assert (code, said) == (0, "")
        code, out, said = as_nobody(
            *served.command("/bin/sh", "-c", "cat /proc/self/status | grep ^Uid"),
        )
        assert (code, out.split()[1]) == (0, "65534"), said
        code, out, said = as_nobody(*served.command(KEYS.binary()))
        assert (code, said) == (0, "")
        assert out == served.run(KEYS.binary()).stdout
        code, _, said = as_nobody(SOFTSGX, "platform", "reset", directory)
        assert code == 1
        served.end()


@is_root
def test_pages_of_another_user_leave_and_come_back(reachable: Path) -> None:
    directory = new_platform(reachable / "p", "--epc", "1M")
    with daemon(directory, "--group", "all") as served:
        code, _, said = as_nobody(*served.command(PAGING.binary()))
        assert (code, said) == (0, "")


@is_root
def test_a_daemon_without_privileges_serves_nobody_else(reachable: Path) -> None:
    directory = new_platform(reachable / "p")
    os.chown(directory, 65534, 65534)
    for path in directory.rglob("*"):
        os.chown(path, 65534, 65534)
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    with daemon(directory, "--group", "all", command=(*user, ANYBODYS)) as served:
        done = served.run("/bin/true")
        said = "the daemon runs as nobody and may not look at programs of root: "
        assert done.code == 125
        assert done.stderr == f"softsgx: {directory}: {said}root's daemon may\n"
        code, _, said = as_nobody(*served.command(KEYS.binary()))
        assert (code, said) == (0, "")
        served.end()


def test_a_group_that_is_none(tmp_path: Path) -> None:
    directory = new_platform(tmp_path / "p")
    command = [SOFTSGX, "daemon", "--platform", str(directory), "--group", "no-such"]
    done = run(command, tmp_path)
    assert (done.code, done.stderr) == (1, "softsgx: no-such: no such group\n")
