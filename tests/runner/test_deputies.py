"""Processes of others may keep a deputy of ours waiting, and nobody else."""

import errno
import mmap
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from softsgx.driver.encl import Encl
from softsgx.native.userfault import Userfault
from softsgx.runner.task import deputies
from softsgx.runner.task.deputies import Deputies, Errand, LateError
from softsgx.runner.task.page_tables import ForeignTables
from tests.runner.test_page_tables import SIZE, Registered, encl, one_more

__all__ = ["encl"]
SOON_S = 120.0


def soon(is_so: Callable[[], bool]) -> None:
    end = time.monotonic() + SOON_S
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """What a slow thing waits for; open at the end."""
    event = threading.Event()
    yield event
    event.set()


def fail() -> None:
    raise OSError(errno.ENOMEM, "no page table")


def test_what_comes_of_an_errand_is_ours() -> None:
    some = Deputies()
    assert some.start(lambda: 5).wait(SOON_S) == 5
    with pytest.raises(OSError, match="no page table"):
        some.start(fail).wait(SOON_S)


def test_one_deputy_does_all_that_ends_soon() -> None:
    some = Deputies()
    names = set()
    for _ in range(20):
        some.start(lambda: names.add(threading.get_ident())).wait(SOON_S)
        soon(lambda: bool(some._free))
    assert len(names) == 1


def test_who_is_late_does_the_rest_afterwards(gate: threading.Event) -> None:
    some, seen = Deputies(), list[str]()

    def wait() -> None:
        gate.wait(SOON_S)
        seen.append("first")

    late = some.start(wait)
    with pytest.raises(LateError):
        late.wait(0.01)
    assert late.then(fail)
    assert late.then(lambda: seen.append("second"))
    assert some.start(lambda: 5).wait(SOON_S) == 5
    assert not seen
    gate.set()
    soon(lambda: late.is_over)
    assert seen == ["first", "second"]
    assert not late.then(fail)


def test_the_more_are_late_the_less_patience_there_is(gate: threading.Event) -> None:
    some = Deputies()
    first = some.patience
    for _ in range(9):
        some.give_up(some.start(gate.wait))
    assert some.patience == first / 10
    gate.set()
    soon(lambda: some.patience == first)


def test_without_threads_all_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> int:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(deputies, "start_new_thread", none)
    with pytest.raises(LateError):
        Deputies().start(lambda: 5)


# ---- page tables ----


class Slow(Registered):
    """A userfaultfd of a process that holds its lock until the gate opens."""

    def __init__(self, gate: threading.Event) -> None:
        super().__init__()
        self._gate = gate
        self.done: list[str] = []

    def write_protect(self, start: int, length: int, *, on: bool) -> None:
        del start, length
        self._gate.wait(SOON_S)
        self.done.append("on" if on else "off")

    def close(self) -> None:
        self.done.append("closed")


@pytest.fixture
def mapped(encl: Encl) -> Iterator[mmap.mmap]:
    with one_more(encl) as one:
        yield one


RUNS = [(0, SIZE >> 12)]


def never(errand: Errand, seconds: float) -> None:
    pytest.fail(f"waited {seconds} s for {errand}")


def test_pages_of_a_slow_process_stay_and_are_let_go_of_later(
    gate: threading.Event,
    encl: Encl,
    mapped: mmap.mmap,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert mapped
    slow = Slow(gate)
    tables = ForeignTables(os.getpid(), slow, lambda: None)
    monkeypatch.setattr(deputies, "_PATIENCE_S", SOON_S)
    assert tables.watch(encl)
    monkeypatch.setattr(deputies, "_PATIENCE_S", 0.05)
    with pytest.raises(LateError):
        tables.protect(encl, RUNS)
    monkeypatch.setattr(Errand, "wait", never)
    tables.unprotect(encl, RUNS)
    for _ in range(20):
        assert not tables.watch(encl)
        with pytest.raises(LateError):
            tables.protect(encl, RUNS)
    tables.close()
    assert slow.done == []
    gate.set()
    soon(lambda: slow.done[-1:] == ["closed"])
    half = len(slow.done) // 2
    assert slow.done == ["on"] * half + ["off"] * half + ["closed"]


def test_a_process_that_was_slow_is_one_like_others(
    gate: threading.Event,
    encl: Encl,
    mapped: mmap.mmap,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert mapped
    slow = Slow(gate)
    tables = ForeignTables(os.getpid(), slow, lambda: None)
    with pytest.raises(LateError):
        tables.protect(encl, RUNS)
    monkeypatch.setattr(deputies, "_PATIENCE_S", SOON_S)
    gate.set()
    soon(lambda: tables.watch(encl))
    slow.done.clear()
    tables.protect(encl, RUNS)
    tables.unprotect(encl, RUNS)
    assert set(slow.done) == {"on", "off"}
    tables.close()
    assert slow.done[-1] == "closed"


def test_only_a_userfaultfd_is_taken_for_one() -> None:
    for fd in (os.memfd_create("[userfaultfd]"), os.eventfd(0)):
        with pytest.raises(OSError, match="no userfaultfd") as refused:
            Userfault(fd)
        assert refused.value.errno == errno.EINVAL
        with suppress(OSError):
            os.fstat(fd)
            pytest.fail("it was left open")
