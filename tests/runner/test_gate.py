"""What the owner's gate writes down, and who waits for the disk."""

import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from softsgx.driver.mm import Mm
from softsgx.driver.protocols import Task
from softsgx.platform.audit import AuditLog
from softsgx.platform.platform import Platform
from softsgx.runner.gate import OwnersGate
from softsgx.runner.task.queue import Queue
from softsgx.runner.task.turn import Turn
from tests.launch.asking import ask


class Bench:
    """A gate, and threads that ask it in turn."""

    def __init__(self, directory: Path) -> None:
        self.platform = Platform.create(directory / "p")
        self.log = self.platform.policies().log
        self.gate = OwnersGate(self.platform.policies(), pytest.fail)
        self.turn = Turn()

    def judge(self, owner: int) -> None:
        """Ask about an enclave of process *owner*."""

        def wait_for(write: Callable[[], None]) -> None:
            with self.turn.aside:
                write()

        task = SimpleNamespace(mm=Mm(owner=owner), wait_for=wait_for)
        with self.turn:
            self.gate.judge(cast("Task", task), ask())

    def pids(self) -> list[object]:
        return [one["pid"] for one in self.log.records() if one["event"] == "init"]


def test_others_have_their_turn_while_a_decision_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, synced, held = Bench(tmp_path), os.fsync, set[bool]()

    def slow(fd: int) -> None:
        held.add(bench.turn._lock.locked())
        synced(fd)

    monkeypatch.setattr(os, "fsync", slow)
    bench.judge(7)
    assert held == {False}
    assert bench.pids() == [7]


def test_decisions_are_written_in_the_order_in_which_they_were_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench, append, begun = Bench(tmp_path), AuditLog.append, threading.Event()
    place, places = Queue.place, list[int]()

    def late(log: AuditLog, event: str, who: object, **words: object) -> None:
        if who.pid == 1:  # type: ignore[attr-defined]
            assert begun.wait(60)
        append(log, event, who, **words)  # type: ignore[arg-type]

    def counted(queue: Queue) -> object:
        found = place(queue)
        places.append(len(places))
        if len(places) == 3:
            begun.set()
        return found

    monkeypatch.setattr(AuditLog, "append", late)
    monkeypatch.setattr(Queue, "place", counted)
    threads = []
    for owner in (1, 2, 3):
        thread = threading.Thread(target=bench.judge, args=(owner,))
        threads.append(thread)
        thread.start()
        while len(places) < owner:
            os.sched_yield()
    for thread in threads:
        thread.join(60)
    assert bench.pids() == [1, 2, 3]


def test_a_place_is_given_up_by_who_fails_at_it() -> None:
    queue = Queue()
    first, second = queue.place(), queue.place()
    with pytest.raises(OSError, match="no"), first:
        raise OSError("no")
    with second:
        pass
