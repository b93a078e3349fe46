"""A daemon that lets go of its trees does not wait for a moment that never comes."""

from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from softsgx.platform.platform import Platform
from softsgx.service.daemon import Daemon
from tests.service.serving import new_platform


class Tree:
    """One that is quiet now and then, and ends when it is told."""

    def __init__(self, *quiet: bool):
        self._quiet = cycle(quiet)
        self.asked = 0
        self.is_retired = self.is_closed = self.is_let_go = False

    @property
    def is_quiet(self) -> bool:
        assert not self.is_closed
        self.asked += 1
        return next(self._quiet)

    def retire(self) -> None:
        self.is_retired = self.is_closed = True

    def let_go(self) -> None:
        self.is_let_go = True


@pytest.fixture
def daemon(tmp_path: Path) -> Daemon:
    return Daemon(Platform.open(new_platform(tmp_path / "p")))


def dismiss(daemon: Daemon, monkeypatch: pytest.MonkeyPatch, *trees: Tree) -> None:
    """Have them dismissed."""
    here: Any = lambda: [tree for tree in trees if not tree.is_closed]  # noqa: E731 -- a stand-in
    monkeypatch.setattr(daemon, "_trees", here)
    daemon._dismiss_all()


def test_trees_that_are_never_quiet_at_once(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees = Tree(False, True), Tree(True, False)  # noqa: FBT003 -- what they are in turn
    dismiss(daemon, monkeypatch, *trees)
    assert all(tree.is_retired for tree in trees)
    assert not any(tree.is_let_go for tree in trees)
    assert [tree.asked for tree in trees] == [2, 1]


def test_one_that_is_never_quiet_is_told_all_the_same(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("softsgx.service.daemon._PARTING_S", 0.2)
    busy = Tree(False)  # noqa: FBT003 -- what it is in turn
    dismiss(daemon, monkeypatch, busy)
    assert busy.is_retired
