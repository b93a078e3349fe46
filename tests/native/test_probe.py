import errno
import os
import signal
from pathlib import Path

from softsgx.native import probe as module
from softsgx.native.probe import KILLED, Attempt, probe


def die() -> int:
    os.kill(os.getpid(), signal.SIGSYS)
    return 0


def test_an_attempt_says_how_it_ended() -> None:
    assert str(Attempt(0)) == "works"
    assert str(Attempt(errno.EPERM)) == "EPERM"
    assert str(Attempt(KILLED)) == "killed by a filter"
    assert str(Attempt(4095)) == "4095"


def test_a_child_that_is_killed_is_an_answer() -> None:
    assert module._in_child(die) == Attempt(KILLED)
    assert module._in_child(lambda: errno.EBUSY) == Attempt(errno.EBUSY)
    assert module._in_child(lambda: 0).works


def test_a_child_that_raises_is_not_a_success() -> None:
    assert not module._in_child(lambda: 1 // 0).works


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_probing_leaves_no_file_open() -> None:
    before = open_files()
    probe()
    assert open_files() == before


def test_the_extended_state_holds_sse() -> None:
    facts = probe()
    if facts.ptrace.works:
        assert facts.extended.xcr0 & 3 == 3
        assert facts.extended.size >= 576


def test_files_that_are_not_there_are_no_numbers() -> None:
    assert module._read_int("/nowhere/at/all") is None
