"""A program that begins under a debugger is known by more than its number."""

import os
import subprocess
from pathlib import Path

from softsgx.native import lib
from softsgx.runner.newborns import STUB, Newborn, Newborns, _first_instruction
from softsgx.runner.task.caller import Caller


def test_a_number_that_came_again_is_not_written_to() -> None:
    newborns = Newborns(lib.Injector(bytes(64)), os.getpid())
    with subprocess.Popen(["sleep", "60"]) as other:
        while Path(f"/proc/{other.pid}/comm").read_text() != "sleep\n":
            pass
        at = _first_instruction(other.pid)
        before = lib.read(other.pid, at, len(STUB))
        # As one that began under a debugger, and was killed since.
        newborns._by_pid[other.pid] = Newborn(other.pid, lib.Start())
        try:
            assert newborns.tracee(Caller(os.getpid()), other.pid) == (False, 0)
            assert lib.read(other.pid, at, len(STUB)) == before
        finally:
            other.kill()
