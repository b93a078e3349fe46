"""What a daemon tells Prometheus, and where."""

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict

from prometheus_client import CollectorRegistry, ProcessCollector, make_wsgi_app
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from softsgx import __version__
from softsgx.arch.addr import PAGE_SHIFT
from softsgx.driver.census import EnclaveUse, EpcUse
from softsgx.driver.core import Core
from softsgx.driver.counts import Counts
from softsgx.runner.task.turn import Turn
from softsgx.service.scrapes import ScrapeServer
from softsgx.service.watch import look

_COUNTS = {
    "entries": ("enclave_entries", "EENTERs, as the programs' agents count them"),
    "exits": ("enclave_exits", "EEXITs, as the programs' agents count them"),
    "aex": (
        "asynchronous_exits",
        "Asynchronous exits, as the programs' agents count them",
    ),
    "faults": ("page_faults", "Page faults that the driver was asked about"),
    "evictions": ("page_evictions", "Pages that left the EPC"),
    "reloads": ("page_reloads", "Pages that came back into the EPC"),
}
"""A metric's name and help for each count."""

_SUMS = (
    ("enclaves", "Enclaves by MRENCLAVE; without one before EINIT"),
    ("enclave_resident_bytes", "EPC of enclaves by MRENCLAVE"),
    ("enclave_evicted_bytes", "Evicted pages of enclaves by MRENCLAVE"),
    ("enclave_threads_inside", "Threads inside enclaves by MRENCLAVE"),
)
"""Metrics that have a value for each MRENCLAVE, and their help."""

Systems = Callable[[], list[tuple[str, Core]]]

_STATES = ("free", "pages", "secs", "va", "guests")


class Metrics(Collector):
    """The metrics of a machine, made when they are asked for.

    *systems* returns the host and its guests, by their names, as they are since the
    last reset; *turn* is held meanwhile.
    """

    def __init__(self, systems: Systems, turn: Turn):
        self._systems = systems
        self._turn = turn

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        systems = self._systems()
        enclaves: list[tuple[str, EnclaveUse]] = []
        uses, counts = {}, Counts()
        for name, system in systems:
            seen, uses[name], happened = look(system, self._turn)
            enclaves += [(name, one) for one in seen]
            counts.add(happened)
        core, use = systems[0][1], uses.pop("")
        with self._turn:
            charged = [(path, one.usage) for path, one in core.cgroups.all()]
        created = core.machine.eids.next - 1
        yield InfoMetricFamily(
            "softsgx", "The daemon's version", {"version": __version__}
        )
        yield _gauge("epc_size_bytes", "EPC that CPUID reports", use.size)
        epc = GaugeMetricFamily(
            "softsgx_epc_bytes", "EPC by what it is used for", labels=["state"]
        )
        for state in _STATES:
            epc.add_metric([state], asdict(use)[state])
        yield epc
        yield from _of_guests(uses)
        yield _gauge("epc_beyond_bytes", "Pages in use beyond the EPC", use.beyond)
        yield _gauge("evicted_bytes", "Pages that are out of the EPC", use.evicted)
        yield CounterMetricFamily("softsgx_enclaves_created", "ECREATEs", created)
        yield from _counters(counts)
        yield from _by_measurement(enclaves)
        cgroups = GaugeMetricFamily(
            "softsgx_cgroup_epc_bytes",
            "EPC charged to a cgroup and all below it",
            labels=["cgroup"],
        )
        for path, usage in charged:
            cgroups.add_metric([_readable(path)], usage << PAGE_SHIFT)
        yield cgroups


def serve(systems: Systems, turn: Turn, host: str, port: int) -> int:
    """Serve metrics over HTTP from now on; return the port; OSError."""
    registry = CollectorRegistry()
    registry.register(Metrics(systems, turn))
    ProcessCollector(registry=registry)
    server = ScrapeServer(host, port, make_wsgi_app(registry))
    server.start()
    return server.server_port


def _readable(path: str) -> str:
    """Return a path, whose bytes anybody chose, in UTF-8."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _gauge(name: str, words: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"softsgx_{name}", words, value)


def _counters(counts: Counts) -> Iterator[Metric]:
    values = asdict(counts)
    for count, (name, words) in _COUNTS.items():
        yield CounterMetricFamily(f"softsgx_{name}", words, values[count])


def _of_guests(uses: dict[str, EpcUse]) -> Iterator[Metric]:
    size = GaugeMetricFamily(
        "softsgx_guest_epc_size_bytes", "EPC of a guest", labels=["guest"]
    )
    epc = GaugeMetricFamily(
        "softsgx_guest_epc_bytes",
        "EPC of a guest by what it is used for",
        labels=["guest", "state"],
    )
    for name, use in uses.items():
        size.add_metric([name], use.size)
        for state in _STATES[:-1]:
            epc.add_metric([name, state], asdict(use)[state])
    yield size
    yield epc


def _by_measurement(enclaves: list[tuple[str, EnclaveUse]]) -> Iterator[Metric]:
    """Add enclaves up that are the same program: a label an enclave would be many."""
    sums: dict[tuple[str, str], list[int]] = {}
    for guest, one in enclaves:
        row = sums.setdefault((one.mrenclave, guest), [0] * len(_SUMS))
        for at, value in enumerate((1, one.resident, one.evicted, one.inside)):
            row[at] += value
    for at, (name, words) in enumerate(_SUMS):
        family = GaugeMetricFamily(
            f"softsgx_{name}", words, labels=["mrenclave", "guest"]
        )
        for labels, row in sorted(sums.items()):
            family.add_metric(labels, row[at])
        yield family
