"""What a daemon tells of its machine, a piece at a time."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from softsgx.platform.errors import PlatformError
from softsgx.runner.task.turn import Turn
from softsgx.service import watch
from softsgx.service.channel import Peer, Words
from tests.driver.fakes import PAGE, FakeMemory, World
from tests.driver.paged import Paged

ME = Peer(1, 0, 0)


def ask(method: Callable[..., Words], world: World, **params: object) -> Words:
    machinery = SimpleNamespace(machine=world.machine)
    daemon = SimpleNamespace(
        machinery=machinery, systems=lambda: [("", world.driver)], turn=Turn()
    )
    told = json.loads(json.dumps(method(cast("Any", daemon), dict(params), ME)))
    assert isinstance(told, dict)
    return told


def rows(method: Callable[..., Words], world: World, **params: int) -> list[Words]:
    found: list[Words] = []
    first: int | None = 0
    while first is not None:
        told = ask(method, world, first=first, **params)
        found += told["rows"]
        first = told["next"]
    return found


def another(world: World) -> int:
    world.memory = FakeMemory()
    world.encl = world.driver.open(world.memory)
    world.build()
    return world.encl.eid


def test_an_enclave_is_told_with_its_process() -> None:
    world = World()
    world.build()
    world.mm.owner = os.getpid()
    world.map(0, 9, 3)
    (row,) = rows(watch.enclaves, world)
    assert row["pids"] == [os.getpid()]
    assert row["exe"] == str(Path("/proc/self/exe").readlink())
    assert row["cgroup"].startswith("/")
    assert row["guest"] is None
    assert row["counts"]["entries"] == 0


def test_enclaves_without_a_process_have_no_exe() -> None:
    world = World()
    world.build()
    (row,) = rows(watch.enclaves, world)
    assert (row["pids"], row["exe"], row["cgroup"]) == ([], "", "")


def test_many_enclaves_come_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "AT_ONCE", 3)
    world = World()
    eids = [another(world) for _ in range(10)]
    assert len(ask(watch.enclaves, world, first=0)["rows"]) == 3
    assert [row["eid"] for row in rows(watch.enclaves, world)] == eids
    assert ask(watch.enclaves, world, first=eids[9])["next"] is None
    assert ask(watch.enclaves, world, first=eids[9] + 1)["rows"] == []


def test_the_machine_is_told() -> None:
    world = Paged()
    world.ready(100)
    told = ask(watch.machine, world)
    assert (told["alive"], told["created"]) == (1, 1)
    assert told["counts"]["evictions"] * PAGE == told["epc"]["evicted"] > 0
    world.driver.release(world.encl)
    told = ask(watch.machine, world)
    assert (told["alive"], told["created"]) == (0, 1)
    assert told["counts"]["evictions"] > 0


def test_pages_and_threads_come_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "ROWS_AT_ONCE", 2)
    world = Paged()
    world.ready(100)
    eid = world.encl.eid
    pages = rows(watch.pages, world, eid=eid)
    assert sum(row["size"] for row in pages) == 101 * PAGE
    (tcs,) = rows(watch.threads, world, eid=eid)
    assert tcs["address"] == world.encl.base


def test_an_enclave_that_ended_meanwhile_is_gone() -> None:
    world = World()
    world.build()
    for method in (watch.pages, watch.threads):
        with pytest.raises(PlatformError, match=r"^enclave 7 is gone$"):
            ask(method, world, eid=7, first=0)


@pytest.mark.parametrize("first", [None, -1, True, "0", 1.5, [], {}])
def test_what_is_no_number_is_refused(first: object) -> None:
    world = World()
    world.build()
    with pytest.raises(PlatformError, match=r"^first: not a number$"):
        ask(watch.enclaves, world, first=first)
    with pytest.raises(PlatformError, match=r"^eid: not a number$"):
        ask(watch.pages, world, eid=first, first=0)
