"""A program that begins under a debugger is known by more than its number."""

import os
import subprocess
from subprocess import PIPE

import pytest

from softsgx.native import lib
from softsgx.runner import newborns
from softsgx.runner.newborns import (
    STUB,
    Newborn,
    Newborns,
    _first_instruction,
    _has_executed,
)
from softsgx.runner.task.caller import Caller


def test_a_number_that_came_again_is_not_written_to() -> None:
    them = Newborns(lib.Injector(bytes(64)), os.getpid())
    with subprocess.Popen(["cat"], stdin=PIPE, stdout=PIPE, bufsize=0) as other:
        _speak_to(other)
        at = _first_instruction(other.pid)
        before = lib.read(other.pid, at, len(STUB))
        # As one that began under a debugger, and was killed since.
        them._by_pid[other.pid] = Newborn(other.pid, lib.Start())
        try:
            assert them.tracee(Caller(os.getpid()), other.pid) == (False, 0)
            assert lib.read(other.pid, at, len(STUB)) == before
        finally:
            other.kill()


def test_what_is_in_the_midst_of_its_execve_has_not_executed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with subprocess.Popen(["cat"], stdin=PIPE, stdout=PIPE, bufsize=0) as other:
        _speak_to(other)
        try:
            assert _has_executed(other.pid)
            # The kernel has emptied the memory, and not yet written the vector.
            monkeypatch.setattr(newborns, "_auxv", lambda _: {})
            assert not _has_executed(other.pid)
        finally:
            other.kill()


def _speak_to(cat: subprocess.Popen[bytes]) -> None:
    """Return when it runs: its execve is over."""
    assert cat.stdin
    assert cat.stdout
    cat.stdin.write(b"x")
    assert cat.stdout.read(1) == b"x"
