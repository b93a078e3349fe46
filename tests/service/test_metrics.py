"""What Prometheus is told, as its own client reads it over loopback."""

import subprocess
import sys

import pytest

from softsgx.driver.core import Core
from softsgx.runner.task.turn import Turn
from softsgx.service.metrics import serve
from tests.driver.fakes import PAGE, FakeMemory, World
from tests.driver.paged import Paged
from tests.service import scraping


def scraped(core: Core) -> scraping.Samples:
    """Serve metrics, and read them once."""
    return scraping.scraped(serve(lambda: [("", core)], Turn(), "127.0.0.1", 0))


def test_the_epc_adds_up() -> None:
    world = World()
    world.build(8)
    seen = scraped(world.driver)
    states = {state: seen["softsgx_epc_bytes", state] for state in ("pages", "secs")}
    assert states == {"pages": 9 * PAGE, "secs": PAGE}
    assert seen["softsgx_epc_bytes", "va"] == PAGE
    assert seen["softsgx_cgroup_epc_bytes", "/"] == 11 * PAGE
    assert seen["softsgx_epc_size_bytes", ""] == sum(
        value for (name, _), value in seen.items() if name == "softsgx_epc_bytes"
    )


def test_a_cgroup_of_any_bytes_breaks_no_scrape() -> None:
    world = World()
    cgroup = world.driver.cgroups.find("/a\udcff")
    cgroup.max = 4 * PAGE
    assert scraped(world.driver)["softsgx_cgroup_epc_bytes", "/a\\xff"] == 0


def test_counters_never_fall_when_an_enclave_ends() -> None:
    world = Paged()
    world.ready(100)
    world.encl.entered.add(0)
    world.memory.tallies[0] = (7, 6, 5, 1)
    before = scraped(world.driver)
    assert before["softsgx_enclave_entries_total", ""] == 7
    assert before["softsgx_enclave_exits_total", ""] == 6
    assert before["softsgx_asynchronous_exits_total", ""] == 5
    assert (
        before["softsgx_page_evictions_total", ""] * PAGE
        == (before["softsgx_evicted_bytes", ""])
    )
    world.driver.release(world.encl)
    after = scraped(world.driver)
    names = [name for name, _ in before if name.startswith("softsgx_")]
    totals = [name for name in names if name.endswith("_total")]
    assert len(totals) == 7
    assert all(after[name, ""] == before[name, ""] for name in totals)
    assert after["softsgx_evicted_bytes", ""] == 0


def test_enclaves_that_are_the_same_program_are_added_up() -> None:
    world = World()
    for _ in range(3):
        world.memory = FakeMemory()
        world.encl = world.driver.open(world.memory)
        world.build()
    measured = world.driver.secs(world.encl).mrenclave.hex()
    world.encl = world.driver.open(FakeMemory())
    world.create()
    seen = scraped(world.driver)
    enclaves = {
        label: value
        for (name, label), value in seen.items()
        if name == "softsgx_enclaves"
    }
    assert enclaves == {measured: 3, "": 1}
    assert seen["softsgx_enclave_resident_bytes", measured] == 30 * PAGE


def test_names_follow_the_conventions() -> None:
    world = World()
    world.build()
    ours = {name for name, _ in scraped(world.driver)}
    daemons = {name for name in ours if name.startswith("process_")}
    assert "process_resident_memory_bytes" in daemons
    for name in ours - daemons:
        assert name.startswith("softsgx_")
        assert name.endswith(("_bytes", "_total", "_info", "_enclaves", "_inside"))


@pytest.mark.parametrize(
    "module", ["softsgx.cli.run", "softsgx.cli.daemon", "softsgx.service.daemon"]
)
def test_who_serves_no_metrics_imports_nothing_for_them(module: str) -> None:
    code = f"import sys, {module}; print(*sys.modules)"
    command = [sys.executable, "-c", code]
    seen = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert not {"prometheus_client", "rich"}.intersection(seen.split())
