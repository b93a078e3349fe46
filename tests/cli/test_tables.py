"""What `ps`, `top` and `show` print, from what a daemon answers."""

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from softsgx.cli.failure import Failure
from softsgx.cli.rates import Sample, between, sample
from softsgx.cli.tables import (
    amount,
    enclave_table,
    facts,
    page_table,
    rate,
    tcs_table,
    top_head,
    top_table,
)
from softsgx.cli.watched import find, pages, rows
from softsgx.platform.errors import PlatformError
from softsgx.service import control
from softsgx.service.control import Operator

NO_COUNTS = dict.fromkeys(
    ("entries", "exits", "aex", "faults", "evictions", "reloads"), 0
)
EPC = {"size": 1 << 20, "free": 1 << 19, "pages": 1 << 18, "secs": 1 << 17}
EPC |= {"va": 1 << 17, "guests": 0, "evicted": 3 << 20, "beyond": 0}


def enclave(eid: int = 3, **changes: object) -> dict[str, Any]:
    return {
        "eid": eid,
        "pids": [4711],
        "device": "sgx_enclave",
        "exe": "/opt/app/server",
        "cgroup": "/system.slice/app.service",
        "guest": None,
        "mrenclave": "ab12" * 16,
        "mrsigner": "cd34" * 16,
        "isvprodid": 7,
        "isvsvn": 2,
        "base": 0x7000_0000_0000,
        "size": 2 << 20,
        "resident": 1536 << 10,
        "evicted": 0,
        "va": 4096,
        "tcs": 4,
        "inside": 1,
        "debug": False,
        "initialized": True,
        "counts": NO_COUNTS,
        **changes,
    }


def lines(table: Table, width: int = 400) -> list[list[str]]:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(table)
    return [line.split() for line in capture.get().splitlines()]


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0"),
        (1023, "1023"),
        (4096, "4K"),
        (1536 << 10, "1.5M"),
        (64 << 20, "64M"),
        ((1 << 20) - 4096, "1020K"),
        (5 << 40, "5T"),
        (5 << 60, "5242880T"),
    ],
)
def test_sizes_are_short(size: int, words: str) -> None:
    assert amount(size) == words


@pytest.mark.parametrize(("value", "words"), [(0, "0"), (0.25, "0.2"), (12.6, "13")])
def test_rates_are_short(value: float, words: str) -> None:
    assert rate(value) == words


def test_ps_has_a_line_an_enclave() -> None:
    table = enclave_table(
        [enclave(), enclave(4, pids=[5, 6, 7], debug=True, mrenclave="")]
    )
    head, one, two = lines(table)
    assert head == [
        *("ID", "PID", "GUEST", "MRENCLAVE", "SIZE", "RESIDENT", "EVICTED"),
        *("INSIDE", "DEBUG", "EXE", "CGROUP"),
    ]
    assert one == [
        *("3", "4711", "-", "ab12" * 3, "2M", "1.5M", "0", "1", "-"),
        *("server", "/system.slice/app.service"),
    ]
    assert two[:2] == ["4", "5+2"]
    assert two[3:5] == ["before", "INIT"]
    assert "debug" in two


def test_an_enclave_of_no_process_has_dashes() -> None:
    _, one = lines(enclave_table([enclave(pids=[], exe="", cgroup="")]))
    assert one[:3] == ["3", "-", "-"]
    assert one[-2:] == ["-", "-"]


def test_a_name_moves_no_terminal_and_is_no_markup() -> None:
    table = enclave_table([enclave(exe="/opt/\x1b[2J[bold]x\n")])
    text = "".join(" ".join(line) for line in lines(table))
    assert "\x1b" not in text
    assert "[bold]x" in text


def test_a_narrow_terminal_cuts_paths_and_no_numbers() -> None:
    _, one = lines(enclave_table([enclave(exe="/x/" + "long" * 9)]), width=80)
    assert one[:-2] == ["3", "4711", "-", "ab12" * 3, "2M", "1.5M", "0", "1", "-"]
    assert one[-2].endswith("…")
    assert one[-1].endswith("…")


def test_top_shows_what_happened_in_a_second() -> None:
    counts = {**NO_COUNTS, "entries": 100, "aex": 10}
    guests = {"one": {**EPC, "guests": 0}}
    machine = {"epc": EPC, "guests": guests, "alive": 2, "counts": counts}
    before = Sample(10.0, machine, [enclave(counts=counts)])
    later = {**counts, "entries": 300, "aex": 0, "faults": 1}
    both = {**NO_COUNTS, "entries": 350}
    after = Sample(
        12.0,
        {**machine, "counts": both},
        [enclave(counts=later), enclave(9, counts={**NO_COUNTS, "entries": 50})],
    )
    seen = between(before, after)
    assert seen["seconds"] == 2
    assert seen["per_second"]["entries"] == 125
    one, two = seen["enclaves"]
    assert one["per_second"]["entries"] == 100
    assert one["per_second"]["aex"] == 0, "a program turned its count back"
    assert two["per_second"]["entries"] == 25, "a new one counts from its beginning"
    head, first, second = lines(top_table(seen["enclaves"]))
    assert head[2:6] == ["GUEST", "RESIDENT", "EVICTED", "INSIDE"]
    assert head[6:11] == ["CALLS/S", "AEX/S", "FAULTS/S", "OUT/S", "IN/S"]
    assert first == [
        *("3", "4711", "-", "1.5M", "0", "1"),
        *("100", "0", "0.5", "0", "0", "server"),
    ]
    assert second[0] == "9"
    machine_line, parts, guest, total = top_head(seen)
    assert guest == f"guest one: {machine_line}"
    assert machine_line == "EPC 1M: 512K in use (50%), 512K free, 3M evicted"
    assert parts == "  of it pages 256K, version arrays 128K, SECS 128K, guests 0"
    assert total.startswith("2 enclaves, 2 threads inside: 125 calls/s, 0 aex/s")


def test_what_is_beyond_the_epc_is_said() -> None:
    seen = {
        "epc": {**EPC, "beyond": 4096},
        "guests": {},
        "enclaves": [],
        "per_second": NO_COUNTS,
    }
    assert list(top_head(seen))[1].endswith("; 4K beyond it")


def test_an_epc_of_nothing_divides_by_nothing() -> None:
    seen = {
        "epc": dict.fromkeys(EPC, 0),
        "enclaves": [],
        "per_second": NO_COUNTS,
    }
    assert next(top_head(seen)) == "EPC 0: 0 in use (0%), 0 free, 0 evicted"


def test_show_names_all_that_an_enclave_is() -> None:
    said = dict(facts(enclave(counts={**NO_COUNTS, "entries": 5, "aex": 2})))
    assert said["mrenclave"] == "ab12" * 16
    assert said["addresses"] == "0x700000000000-0x700000200000"
    assert said["calls"] == "5 in, 0 out"
    assert said["exits"] == "2 asynchronous"
    assert said["guest"] == "-"
    bare = dict(facts(enclave(pids=[], mrenclave="", mrsigner="")))
    assert bare["processes"] == "-"
    assert bare["mrenclave"] == "none before INIT"


def test_tcss_say_who_is_inside() -> None:
    row = {"address": 0x7000, "evicted": False, "pid": 8, "tid": 9}
    row |= {"cssa": 1, "nssa": 2, "entry": 0x1000}
    head, one, two, three = lines(
        tcs_table([row, {**row, "pid": 0, "tid": 0}, {**row, "evicted": True}])
    )
    assert head == ["TCS", "STATE", "PID", "THREAD", "FRAMES", "ENTRY"]
    assert one == ["0x7000", "inside", "8", "9", "1/2", "+0x1000"]
    assert two == ["0x7000", "free", "-", "-", "1/2", "+0x1000"]
    assert three[1] == "evicted"


def test_pages_say_their_state() -> None:
    row = {"start": 0x7000, "size": 0x2000, "type": "REG", "rights": "rw-"}
    row |= {"most": "rwx", "states": ["PENDING", "PR"], "evicted": False}
    head, one, two = lines(page_table([row, {**row, "evicted": True, "states": []}]))
    assert head == ["ADDRESSES", "PAGES", "TYPE", "RIGHTS", "MOST", "STATE"]
    assert one == [
        *("0x7000-0x9000", "2", "REG", "rw-", "rwx"),
        *("resident", "pending", "pr"),
    ]
    assert two[-1] == "evicted"


class Daemon:
    """Answers as a daemon does, each row in a piece of its own."""

    def __init__(self, **told: list[dict[str, Any]]) -> None:
        self.told = told

    def __call__(self, method: str, *, first: int = 0, eid: int = 0) -> dict[str, Any]:
        assert eid == 0 or method != "enclaves"
        if method == "machine":
            return {"epc": EPC, "counts": NO_COUNTS}
        found = self.told[method]
        more = first + 1 if first + 1 < len(found) else None
        return {"rows": found[first : first + 1], "next": more}


def test_all_pieces_are_asked_for() -> None:
    daemon = Daemon(enclaves=[enclave(1), enclave(2), enclave(3)])
    assert [row["eid"] for row in rows(daemon, "enclaves")] == [1, 2, 3]
    assert len(sample(daemon, 1.0).enclaves) == 3


def test_a_map_has_no_seams_where_the_pieces_met() -> None:
    row = {"start": 0x7000, "size": 0x2000, "type": "REG", "evicted": False}
    daemon = Daemon(
        pages=[
            row,
            {**row, "start": 0x9000, "size": 0x1000},
            {**row, "start": 0xA000, "evicted": True},
            {**row, "start": 0xD000, "evicted": True},
        ]
    )
    seen = pages(daemon, 1)
    assert [(one["start"], one["size"]) for one in seen] == [
        (0x7000, 0x3000),
        (0xA000, 0x2000),
        (0xD000, 0x2000),
    ]


def test_a_daemon_of_another_user_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(directory: Path, name: str) -> None:
        del directory, name
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(control, "connect", refuse)
    with pytest.raises(PlatformError) as failure:
        Operator(tmp_path)
    said = f"{tmp_path}: only root and who runs its daemon may ask that"
    assert str(failure.value) == said


ENCLAVES = [
    enclave(3, pids=[4711]),
    enclave(4, pids=[12, 4712], mrenclave="ab13" * 16),
    enclave(12, pids=[4712], mrenclave=""),
]


@pytest.mark.parametrize(
    ("name", "eid"),
    [("3", 3), ("4711", 3), ("12", 12), ("ab12", 3), ("AB13ab", 4)],
)
def test_an_enclave_is_called_by_id_pid_or_measurement(name: str, eid: int) -> None:
    assert find(name, ENCLAVES)["eid"] == eid


@pytest.mark.parametrize("name", ["99", "ab1", "ffff", "", "server", "٣"])
def test_what_is_no_name_of_an_enclave(name: str) -> None:
    with pytest.raises(Failure) as failure:
        find(name, ENCLAVES)
    said = f"{name}: no such enclave; `softsgx ps` names those there are"
    assert str(failure.value) == said


def test_a_name_of_several_enclaves_lists_them() -> None:
    with pytest.raises(Failure) as failure:
        find("4712", ENCLAVES)
    assert str(failure.value) == "4712: several enclaves are called so: 4, 12"
