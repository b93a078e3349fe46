"""Ctrl-C while the program is inside an enclave, and a kill from outside."""

import os
import pty
import signal
from pathlib import Path

import pytest

from tests.conformance.run import SOFTSGX
from tests.conformance_sgx.build import Program

pytestmark = [pytest.mark.runner, pytest.mark.slow]


@pytest.mark.parametrize("mode", [(), ("--exact",)])
def test_ctrl_c_ends_a_program_that_is_inside(mode: tuple[str, ...]) -> None:
    binary: Path = Program("spins", "dynamic").binary()
    pid, master = pty.fork()
    if pid == 0:
        command = [SOFTSGX, "run", *mode, "--", str(binary), "for ever"]
        os.execv(command[0], command)  # noqa: S606 -- the child of a pty.fork
    seen = b""
    while b"inside" not in seen:
        seen += os.read(master, 4096)
    os.write(master, b"\x03")
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(master)
    assert code in {-signal.SIGINT, 128 + signal.SIGINT}
