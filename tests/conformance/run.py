"""Runs a command as a terminal's user would, and ends all of it if it hangs."""

import contextlib
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PATIENCE_S = 300.0
"""Ten times what the longest takes on a machine that is busy with other things."""
SOFTSGX = str(Path(sys.executable).with_name("softsgx"))
ANYBODYS = f"{SOFTSGX}-python"
"""The command for other users, who could not begin without Python and turn to it then:
it may lie in a place of root's, where root's execve finds it and theirs does not."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended and what it wrote."""

    code: int
    stdout: str
    stderr: str


def run(command: list[str], cwd: Path, given: str = "") -> Outcome:
    """Run to the end, in a session of its own."""
    with subprocess.Popen(
        command,
        cwd=cwd,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            stdout, stderr = process.communicate(given, timeout=PATIENCE_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            stdout, stderr = _rest(process)
            stderr += f"\n(ended after {PATIENCE_S:.0f} s)"
    return Outcome(process.returncode, stdout, stderr)


def _rest(process: "subprocess.Popen[str]") -> tuple[str, str]:
    """Read what is left; a process that left the session may hold the pipes open."""
    try:
        return process.communicate(timeout=5)
    except subprocess.TimeoutExpired:
        return "", "(somebody still has its output open)"


def under_softsgx(*command: str | Path) -> list[str]:
    """Put softsgx in front of a command."""
    return [SOFTSGX, "run", "--", *map(str, command)]
