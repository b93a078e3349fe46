"""Which of a task's mappings could ever be executed."""

from typing import Any, cast

import pytest

from softsgx.driver.mm import Mm
from softsgx.driver.uapi import TASK_SIZE
from softsgx.runner import process
from softsgx.runner.mappings import Mapping
from softsgx.runner.process import Process, UserTask

PLAIN, NOEXEC = "/lib/plain", "/noexec/file"


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
    monkeypatch.setattr(process, "mappings", lambda _: iter(lines))
    monkeypatch.setattr(process, "_is_noexec", NOEXEC.__eq__)
    return UserTask(1, Process(1, Mm()), cast(Any, None))


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
    monkeypatch.setattr(process, "_is_noexec", judged.append)
    for page in range(0x1000, 0x3000, 0x1000):
        task.source(page)
    assert judged == [PLAIN]
