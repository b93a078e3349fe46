"""What all tests of the runner share."""

import os
from collections.abc import Iterator

import pytest

from softsgx.native import memory


@pytest.fixture(autouse=True)
def no_inotify_is_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give back what watches of a test took: a user may have few of them."""
    make = memory.inotify
    taken: list[int] = []

    def noted() -> int:
        taken.append(make())
        return taken[-1]

    monkeypatch.setattr(memory, "inotify", noted)
    yield
    for fd in taken:
        os.close(fd)
