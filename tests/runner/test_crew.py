"""Calls that take long are left to their thread; nobody else waits for them."""

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from softsgx.runner.crew import Crew, Employer, Places
from softsgx.runner.loop import Loop
from softsgx.runner.task.turn import Turn

SOON = 120.0


class Errands(Employer):
    """Work that comes in a pipe: each byte is an errand, done by what *do* has."""

    is_done = False
    recheck_ms: int | None = None

    def __init__(self) -> None:
        self.turn = Turn()
        self.loop = Loop(last=-1)
        self.idles = 0
        self.by: list[int] = []
        self.do: dict[int, Callable[[], None]] = {}
        self._out, self._in = os.pipe()
        self.loop.on_readable(self._out, self._one)

    def idle(self) -> None:
        self.idles += 1

    def send(self, errand: int) -> None:
        os.write(self._in, bytes([errand]))

    def await_(self, count: int) -> None:
        end = time.monotonic() + SOON
        while len(self.by) < count:
            assert time.monotonic() < end
            time.sleep(0.001)

    def _one(self) -> None:
        errand = os.read(self._out, 1)[0]
        self.do.get(errand, lambda: None)()
        self.by.append(threading.get_ident())

    def close(self) -> None:
        os.close(self._in)
        os.close(self._out)


@pytest.fixture
def errands() -> Iterator[Errands]:
    made = Errands()
    yield made
    made.close()


def crew(errands: Errands) -> Crew:
    made = Crew(errands.turn, errands.loop, errands)
    made.start()
    return made


def test_short_errands_meet_no_other_thread(errands: Errands) -> None:
    ours = crew(errands)
    for count in range(1, 1001):
        errands.send(0)
        errands.await_(count)
        if count >= 100 and len(set(errands.by[-100:])) == 1:
            break  # a busy machine may make one late
    else:
        pytest.fail(f"others served: {Counter(errands.by)}")
    assert ours.leave()


def test_nobody_waits_for_what_waits_aside(errands: Errands) -> None:
    supplied = threading.Event()

    def slow() -> None:
        with errands.turn.aside:
            assert supplied.wait(SOON)

    errands.do[1] = slow
    ours = crew(errands)
    for _ in range(5):
        errands.send(1)
    for _ in range(5):
        errands.send(0)
    errands.await_(5)
    supplied.set()
    errands.await_(10)
    assert ours.leave()


def test_one_at_a_time_has_the_turn(errands: Errands) -> None:
    inside = most = 0

    def busy() -> None:
        nonlocal inside, most
        for _ in range(5):
            inside += 1
            most = max(most, inside)
            time.sleep(0.003)
            inside -= 1
            with errands.turn.aside:
                time.sleep(0.003)

    errands.do[1] = busy
    ours = crew(errands)
    for _ in range(4):
        errands.send(1)
    errands.await_(4)
    assert ours.leave()
    assert most == 1
    assert len(set(errands.by)) > 1


def test_who_works_without_a_pause_lets_those_in_that_wait(errands: Errands) -> None:
    enough = threading.Event()

    def long() -> None:
        while not enough.is_set():
            with errands.turn.aside:
                pass

    errands.do[1] = long
    ours = crew(errands)
    errands.send(1)
    errands.send(0)
    errands.await_(1)
    enough.set()
    errands.await_(2)
    assert ours.leave()


def test_it_leaves_when_nothing_is_under_way(errands: Errands) -> None:
    supplied = threading.Event()

    def slow() -> None:
        with errands.turn.aside:
            assert supplied.wait(SOON)

    errands.do[1] = slow
    ours = crew(errands)
    errands.send(1)
    errands.send(0)
    errands.await_(1)
    threading.Timer(0.05, supplied.set).start()
    assert ours.leave()
    assert len(errands.by) == 2
    again = crew(errands)
    errands.send(0)
    errands.await_(3)
    assert again.leave()


def test_it_rests_when_the_work_is_done(errands: Errands) -> None:
    def last() -> None:
        errands.is_done = True

    errands.do[1] = last
    ours = crew(errands)
    errands.send(1)
    assert os.eventfd_read(ours.over_fd)
    assert not ours.leave()


def test_idle_when_told(errands: Errands) -> None:
    errands.recheck_ms = 1
    ours = crew(errands)
    end = time.monotonic() + SOON
    while errands.idles < 3:
        assert time.monotonic() < end
        time.sleep(0.001)
    assert ours.leave()


@pytest.mark.parametrize(
    ("failure", "what"),
    [
        (ValueError("ours"), ValueError),
        # An OSError would tell of a program that could not be started.
        (FileNotFoundError(2, "ours"), RuntimeError),
    ],
)
def test_a_defect_reaches_the_main_thread(
    errands: Errands, failure: Exception, what: type[Exception]
) -> None:
    def wrong() -> None:
        raise failure

    errands.do[1] = wrong
    ours = crew(errands)
    errands.send(1)
    assert os.eventfd_read(ours.over_fd)
    with pytest.raises(what, match="ours"):
        ours.raise_failure()


def test_a_crew_for_which_there_are_no_threads_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none(*_: object) -> int:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("softsgx.runner.crew.start_new_thread", none)
    work = Errands()
    idle = Crew(work.turn, work.loop, work)
    with pytest.raises(OSError, match="no thread"):
        idle.start()
    assert idle.close()


class Counted(Places):
    """So many places for threads, and how many are left."""

    def __init__(self, left: int):
        self.left = left

    def take(self) -> bool:
        if not self.left:
            return False
        self.left -= 1
        return True

    def give(self, count: int) -> None:
        assert count > 0
        self.left += count


def threads() -> int:
    return sum(1 for _ in Path("/proc/self/task").iterdir())


@pytest.mark.parametrize("slow", [0, 1, 4])
def test_threads_for_what_takes_long_have_places(errands: Errands, slow: int) -> None:
    supplied = threading.Event()

    def wait() -> None:
        with errands.turn.aside:
            assert supplied.wait(SOON)

    errands.do[1] = wait
    places = Counted(2)
    ours = Crew(errands.turn, errands.loop, errands, places)
    before = threads()
    ours.start()
    for _ in range(slow):
        errands.send(1)
        time.sleep(0.05)
    assert threads() - before <= 4
    supplied.set()
    errands.await_(slow)
    assert ours.leave()
    end = time.monotonic() + SOON
    while places.left != 2:
        assert time.monotonic() < end
        time.sleep(0.001)
