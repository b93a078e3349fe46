"""`softsgx run` shows only its errors: streams, codes, keys are the program's."""

import os
import pty
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.conformance.run import PATIENCE_S, SOFTSGX, run, under_softsgx

pytestmark = pytest.mark.runner

CANNOT_START, NOT_EXECUTABLE, NOT_FOUND = 125, 126, 127


@pytest.mark.parametrize("code", [0, 1, 2, 70, 125, 255])
def test_the_exit_code_is_the_programs(tmp_path: Path, code: int) -> None:
    outcome = run(under_softsgx("sh", "-c", f"exit {code}"), tmp_path)
    assert (outcome.code, outcome.stdout, outcome.stderr) == (code, "", "")


@pytest.mark.parametrize("signo", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV])
def test_a_death_by_signal_looks_as_it_does_to_a_shell(
    tmp_path: Path, signo: signal.Signals
) -> None:
    command = under_softsgx("sh", "-c", f"ulimit -c 0; kill -{signo.value} $$")
    outcome = run(command, tmp_path)
    assert outcome.code in {-signo, 128 + signo}
    assert outcome.stderr == ""


def test_streams_are_the_programs(tmp_path: Path) -> None:
    command = under_softsgx("sh", "-c", "cat; echo error >&2")
    outcome = run(command, tmp_path, "one\ntwo\n")
    assert (outcome.stdout, outcome.stderr) == ("one\ntwo\n", "error\n")


def test_a_megabyte_goes_through_a_pipeline(tmp_path: Path) -> None:
    command = under_softsgx("sh", "-c", "cat | cat | wc -c")
    assert run(command, tmp_path, "x" * 1_000_000).stdout.strip() == "1000000"


def test_what_cannot_be_found_is_127(tmp_path: Path) -> None:
    for name in ("no-such-program", "./no-such-program", "/no/such/program"):
        outcome = run(under_softsgx(name), tmp_path)
        assert outcome.code == NOT_FOUND
        assert outcome.stderr.startswith("softsgx: ")
        assert len(outcome.stderr.splitlines()) == 1


def test_what_cannot_be_executed_is_126(tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("text\n")
    for name in ("./plain", "/dev", "/dev/null"):
        outcome = run(under_softsgx(name), tmp_path)
        assert outcome.code == NOT_EXECUTABLE
        assert outcome.stderr.startswith("softsgx: ")
        assert len(outcome.stderr.splitlines()) == 1


def _read_until(master: int, wanted: bytes, limit_s: float = PATIENCE_S) -> bytes:
    seen = b""
    end = time.monotonic() + limit_s
    while wanted not in seen and time.monotonic() < end:
        if select.select([master], [], [], 0.2)[0]:
            try:
                seen += os.read(master, 4096)
            except OSError:
                break
    return seen


def _on_terminal(command: list[str], cwd: Path) -> tuple[int, int]:
    """Start a command as the leader of a terminal's session; its pid and the master."""
    pid, master = pty.fork()
    if pid == 0:
        os.chdir(cwd)
        os.execv(command[0], command)  # noqa: S606 -- the child of a pty.fork
    return pid, master


def _ends(pid: int, limit_s: float = PATIENCE_S) -> int:
    """Wait for the end of a session and give its code; end it if it hangs."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    pytest.fail(f"hung for {limit_s:.0f} s")


def test_the_terminal_is_the_programs(tmp_path: Path) -> None:
    command = under_softsgx("sh", "-c", "test -t 0 && test -t 1 && stty size && tty")
    pid, master = _on_terminal(command, tmp_path)
    seen = _read_until(master, b"/dev/pts/")
    assert b"/dev/pts/" in seen
    assert _ends(pid) == 0
    os.close(master)


def test_ctrl_c_ends_the_program(tmp_path: Path) -> None:
    # Not a child of the shell's: dash forgets a ^C that comes while it makes one.
    command = under_softsgx("sh", "-c", "echo ready; exec sleep 1000")
    pid, master = _on_terminal(command, tmp_path)
    assert b"ready" in _read_until(master, b"ready")
    os.write(master, b"\x03")
    code = _ends(pid)
    assert code in {-signal.SIGINT, 128 + signal.SIGINT}
    assert b"Traceback" not in _read_until(master, b"Traceback", 0.5)
    os.close(master)


def test_ctrl_c_is_the_programs_to_handle(tmp_path: Path) -> None:
    script = "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.1; done"
    pid, master = _on_terminal(under_softsgx("sh", "-c", script), tmp_path)
    assert b"ready" in _read_until(master, b"ready")
    os.write(master, b"\x03")
    assert b"caught" in _read_until(master, b"caught")
    assert _ends(pid) == 3
    os.close(master)


def test_ctrl_z_stops_and_fg_goes_on(tmp_path: Path) -> None:
    pid, master = _on_terminal(["/bin/bash", "--norc", "-i"], tmp_path)
    _read_until(master, b"$ ")
    inner = f"{SOFTSGX} run -- sh -c 'echo rea''dy; read x; echo got-$x'\n"
    os.write(master, inner.encode())
    assert b"ready" in _read_until(master, b"ready")
    os.write(master, b"\x1a")
    assert b"Stopped" in _read_until(master, b"Stopped")
    os.write(master, b"fg\n")
    # Its line, as bash says whom it lets go on; the terminal is given before that.
    assert b"got-$x" in _read_until(master, b"got-$x")
    os.write(master, b"word\n")
    assert b"got-word" in _read_until(master, b"got-word")
    os.write(master, b"exit\n")
    assert _ends(pid) == 0
    os.close(master)


def test_softsgx_stops_with_its_program_while_others_begin(tmp_path: Path) -> None:
    begin = "(for i in $(seq 20); do /bin/true; done) &"
    script = f"{begin} {begin} {begin} kill -STOP $$; wait; exit 3"
    for _ in range(5):
        with subprocess.Popen(under_softsgx("sh", "-c", script), cwd=tmp_path) as run:
            stopped = _stops(run.pid)
            run.send_signal(signal.SIGCONT if stopped else signal.SIGKILL)
            assert stopped
            assert run.wait() == 3


def _stops(pid: int) -> bool:
    """Wait until a child stops; it may take its time."""
    for _ in range(200):
        found, status = os.waitpid(pid, os.WUNTRACED | os.WNOHANG)
        if found:
            return os.WIFSTOPPED(status)
        time.sleep(0.1)
    return False


@pytest.mark.parametrize(
    ("where", "words", "filters"),
    [
        ("/", "1 -n 15", 1),
        ("/proc/self/fd", "1", 2),
        ("/dev/fd", "15", 2),
        ("/", "/proc/self/fd/15", 2),
        ("/", "/dev/sgx_enclave 1", 2),
    ],
)
def test_who_is_told_of_nothing_of_ours_has_one_filter(
    where: str, words: str, filters: int
) -> None:
    script = f"cd {where}; exec sh -c 'grep ^Seccomp_f /proc/$$/status' {words}"
    found = [
        int(run([*before, "sh", "-c", script], Path("/")).stdout.split()[1])
        for before in ([], under_softsgx())
    ]
    assert found[1] - found[0] == filters


def _state(pid: int) -> str:
    """Give the state letter of a process, or nothing when there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return ""
    return stat.rpartition(")")[2].split()[0]


def _gone(pid: int, limit_s: float = PATIENCE_S) -> bool:
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if _state(pid) in {"", "Z", "X"}:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("signo", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_killing_softsgx_leaves_no_stopped_and_no_hung_program(
    tmp_path: Path, signo: signal.Signals
) -> None:
    script = "echo $$; while :; do (exit 0); done"
    command = under_softsgx("sh", "-c", script)
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE) as softsgx:
        assert softsgx.stdout is not None
        program = int(softsgx.stdout.readline())
        softsgx.send_signal(signo)
        softsgx.wait(timeout=PATIENCE_S)
        gone = _gone(program)
        if not gone:
            state = _state(program)
            os.kill(program, signal.SIGKILL)
            assert state not in {"t", "T", "D"}, f"left in state {state}"
        assert gone
