"""Which of a task's mappings could ever be executed."""

import errno
import mmap
from pathlib import Path
from typing import Any, cast

import pytest

from softsgx.driver.mm import Mm
from softsgx.driver.uapi import TASK_SIZE
from softsgx.native import lib
from softsgx.runner.task import process
from softsgx.runner.task.caller import Caller
from softsgx.runner.task.mappings import Mapping, mappings
from softsgx.runner.task.process import Process, UserTask
from tests.runner.children import forked

PLAIN, NOEXEC = "/lib/plain", "/noexec/file"


def cannot_say(pid: int, addr: int) -> tuple[int, int, bool, str]:
    raise OSError(errno.ENOTTY, f"no questions about {pid} at {addr:#x}")


def line(start: int, end: int, path: str) -> Mapping:
    mapping = Mapping(1, start, end, "r--p")
    return mapping.of(0, 7 if path.startswith("/") else 0, path)


@pytest.fixture
def task(monkeypatch: pytest.MonkeyPatch) -> UserTask:
    lines = [
        line(0x1000, 0x3000, PLAIN),
        line(0x5000, 0x6000, NOEXEC),
        line(0x6000, 0x7000, "[heap]"),
        line(0xFFFF_FFFF_FF60_0000, 0xFFFF_FFFF_FF60_1000, "[vsyscall]"),
    ]
    monkeypatch.setattr(lib, "mapping_at", cannot_say)
    monkeypatch.setattr(process, "mappings", lambda _: iter(lines))
    monkeypatch.setattr(process, "_is_noexec", lambda _, path: path == NOEXEC)
    return UserTask(Caller(1), Process(1, Mm()), cast(Any, None))


@pytest.mark.parametrize(
    ("addr", "expected"),
    [
        (0, (0x3000, True)),
        (0x2FFF, (0x3000, True)),
        (0x3000, (0x6000, False)),
        (0x5FFF, (0x6000, False)),
        (0x6000, (0x7000, True)),
        (0x6FFF, (0x7000, True)),
        (0x7000, None),
        (TASK_SIZE, None),
        (0xFFFF_FFFF_FF60_0000, None),
        (1 << 64, None),
    ],
)
def test_the_first_mapping_that_ends_above_decides(
    task: UserTask, addr: int, expected: tuple[int, bool] | None
) -> None:
    source = task.source(addr)
    assert (source and source[:2]) == expected


def test_a_file_is_judged_once(task: UserTask, monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[str] = []
    monkeypatch.setattr(process, "_is_noexec", lambda _, path: judged.append(path))
    for page in range(0x1000, 0x3000, 0x1000):
        task.source(page)
    assert judged == [PLAIN]


def test_a_question_about_one_mapping_gives_what_the_text_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Asked of a child that waits: our own mappings change while we ask.
    with (
        Path(__file__).open("rb") as file,
        mmap.mmap(file.fileno(), 0, prot=1),
        forked() as pid,
    ):
        edges = {one.end + by for one in mappings(pid) for by in (-1, 0, 1)}
        asked = UserTask(Caller(pid), Process(pid, Mm()), cast(Any, None))
        by_one = {at: asked.source(at) for at in edges if at < TASK_SIZE}
        monkeypatch.setattr(lib, "mapping_at", cannot_say)
        read = UserTask(Caller(pid), Process(pid, Mm()), cast(Any, None))
        by_text = {at: read.source(at) for at in by_one}
    assert by_one == by_text
    assert {one.is_file for one in by_one.values() if one} == {True, False}
