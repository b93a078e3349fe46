"""gdb and strace, as they come, on programs under softsgx; and softsgx debug."""

import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from tests.conformance.build import Program
from tests.conformance.run import SOFTSGX, Outcome, run, under_softsgx
from tests.house.tree import ROOT

pytestmark = [
    pytest.mark.runner,
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("gdb") is None, reason="no gdb"),
]
HELLO = ROOT / "examples" / "hello"
ENCLAVE_SIZE, ENTRY, ENCLU_SIZE = 0x10000, 0x1000, 3
QUIET = ("gdb", "-q", "-nx", "-batch")


def build(folder: Path, *options: str) -> Path:
    """Build the example, its enclave signed with options; return the host."""
    shutil.copytree(
        HELLO, folder, ignore=shutil.ignore_patterns("*.o", "*.pem", "hello")
    )
    make = ["make", "-B", "-C", str(folder), f"SOFTSGX={SOFTSGX}", "CFLAGS=-O0 -g"]
    subprocess.run([*make, "all"], check=True, capture_output=True)
    sign = ["sign", "enclave.elf", "--key", "key.pem", "--out", "again.sig", *options]
    subprocess.run([SOFTSGX, *sign], cwd=folder, check=True, capture_output=True)
    (folder / "again.sig").replace(folder / "enclave.sig")
    return folder / "hello"


@pytest.fixture(scope="module")
def debuggable(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("debug") / "hello", "--debug")


@pytest.fixture(scope="module")
def production(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("production") / "hello")


def debug(host: Path, *commands: str) -> Outcome:
    words = [word for one in commands for word in ("--ex", one)]
    return run([SOFTSGX, "debug", "--batch", *words, "--", str(host)], host.parent)


def gdb(program: Path, *commands: str) -> str:
    words = [word for one in commands for word in ("-ex", one)]
    command = under_softsgx(*QUIET, *words, "--args", program)
    return run(command, program.parent).stdout


def test_plain_gdb_runs_a_program_and_stops_for_nothing_of_ours() -> None:
    seen = gdb(Program("open_paths", "dynamic").binary(), "run")
    assert "exited normally" in seen
    assert "received signal" not in seen


def test_plain_gdb_runs_an_sgx_program(production: Path) -> None:
    seen = gdb(production, "run")
    assert "host: MRENCLAVE is the one that was signed" in seen
    assert "exited normally" in seen
    assert "received signal" not in seen


def test_plain_gdb_begins_at_the_first_instruction_and_steps() -> None:
    program = Program("open_paths", "static").binary()
    seen = gdb(program, "starti", "p $pc == &_start", "stepi", "p $pc != &_start", "c")
    assert "$1 = 1" in seen
    assert "$2 = 1" in seen
    assert "exited normally" in seen


def test_gdb_attaches_from_outside_with_the_words_of_debug() -> None:
    program = ["sh", "-c", "echo ready; exec 3</dev/null; sleep 30; exit 7"]
    command = under_softsgx(*program)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        children = Path(f"/proc/{running.pid}/task/{running.pid}/children")
        pid = children.read_text().split()[0]
        attach = [
            SOFTSGX,
            "debug",
            "--batch",
            "--pid",
            pid,
            "--ex",
            "info registers rip",
        ]
        seen = run(attach, ROOT)
        running.kill()
    assert "rip  " in seen.stdout
    assert "detached" in seen.stdout


def test_debug_breaks_inside_and_walks_to_the_host(debuggable: Path) -> None:
    seen = debug(debuggable, "b enclave_main", "run", "bt", "sgx enclaves", "sgx tcs")
    assert "symbols of" in seen.stdout
    assert "Breakpoint 1, 0x" in seen.stdout
    assert "in enclave_enter (" in seen.stdout
    assert "in main (" in seen.stdout
    assert "(debug)" in seen.stdout
    assert "a thread is inside" in seen.stdout


STEPS = (
    "python for i in range(200): "
    'gdb.execute("stepi", to_string=True); '
    'print("pc", hex(gdb.newest_frame().pc()))'
)
"""More than the vDSO's function needs to get to its ENCLU."""


def step_through(host: Path) -> tuple[list[int], int]:
    """Step from the vDSO's function on; where each step ended, and the base."""
    entry = ("b enclave_enter", "run", "p/x enclave->base")
    steps = ("b __vdso_sgx_enter_enclave", "c", STEPS, "kill")
    seen = debug(host, *entry, *steps).stdout
    base = next(line for line in seen.splitlines() if line.startswith("$1 = "))
    ends = [line for line in seen.splitlines() if line.startswith("pc 0x")]
    return [int(end[3:], 16) for end in ends], int(base[5:], 16)


def test_a_step_at_the_entry_goes_into_a_debug_enclave(debuggable: Path) -> None:
    ends, base = step_through(debuggable)
    inside = [end - base for end in ends if 0 <= end - base < ENCLAVE_SIZE]
    assert len(ends) == 200
    assert inside[0] == ENTRY
    assert len(set(inside)) > 10


def test_a_step_at_the_entry_of_a_production_enclave_ends_behind_its_exit(
    production: Path,
) -> None:
    ends, base = step_through(production)
    assert not [end for end in ends if 0 <= end - base < ENCLAVE_SIZE]
    exits = [b for a, b in pairwise(ends) if b - a == ENCLU_SIZE]
    assert len(ends) == 200
    assert exits


def test_a_production_enclave_is_opaque(production: Path) -> None:
    look = ("x/4x enclave->base", "sgx enclaves")
    seen = debug(production, "b enclave_enter", "run", *look, "sgx tcs enclave->tcs")
    assert "Cannot access memory" in seen.stderr
    assert "(production: nobody looks inside)" in seen.stdout


@pytest.mark.skipif(shutil.which("strace") is None, reason="no strace")
def test_strace_follows_children_through_their_execve(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    program = ("sh", "-c", "cat /etc/passwd > /dev/null; exit 3")
    seen = run(under_softsgx("strace", "-f", "-o", trace, *program), tmp_path)
    assert (seen.code, seen.stderr) == (3, "")
    text = trace.read_text()
    assert '"/etc/passwd"' in text
    assert "SIGSYS" not in text
    assert "+++ exited with 3 +++" in text
