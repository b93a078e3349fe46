"""What is found under a caller's number counts only while the caller waits."""

import ctypes
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from softsgx.runner.task.caller import Caller
from softsgx.runner.task.turn import Turn

ME = os.getpid()


@pytest.fixture
def gone() -> Iterator[Caller]:
    """One that does not wait: what it is said to wait in is no listener."""
    fd = os.open(os.devnull, os.O_RDONLY)
    yield Caller(ME, (fd, 1))
    os.close(fd)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def memory() -> "ctypes.Array[ctypes.c_char]":
    return ctypes.create_string_buffer(b"before", 4096)


@pytest.mark.parametrize(
    "use",
    [
        lambda who, at: who.read(at, 1),
        lambda who, at: who.write(at, b"x"),
        lambda who, at: who.poke(at, 1),
        lambda who, _: who.stat_fd(0),
        lambda who, _: who.take_fd(0),
        lambda who, _: who.kill(),
        lambda who, _: who.check(),
    ],
)
def test_nothing_is_done_to_who_has_the_number_now(
    gone: Caller,
    memory: "ctypes.Array[ctypes.c_char]",
    use: Callable[[Caller, int], object],
) -> None:
    open_before = descriptors()
    with pytest.raises(ProcessLookupError):
        use(gone, ctypes.addressof(memory))
    assert memory.value == b"before"
    assert descriptors() == open_before
    assert not gone.is_waiting()


def test_no_page_of_it_is_copied(
    gone: Caller, memory: "ctypes.Array[ctypes.c_char]"
) -> None:
    assert gone.copy_pages(ctypes.addressof(memory), memoryview(bytearray(4096))) == 0


def test_others_have_their_turn_while_it_is_read(
    memory: "ctypes.Array[ctypes.c_char]",
) -> None:
    turn = Turn()
    caller = Caller(ME, turn=turn)
    left: list[bool] = []
    caller.leaving = lambda: left.append(True)
    with turn:
        assert caller.read(ctypes.addressof(memory), 6) == b"before"
        assert left == [True]
        with caller.aside(), turn:
            pass
        caller.hold()
        with caller.aside():
            assert turn._lock.locked()
    assert not turn._lock.locked()
