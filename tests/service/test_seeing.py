"""`ps`, `top`, `show` and the metrics say of real programs what those did."""

import json
import os
import pty
import re
import select
import socket
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from softsgx.cli.daemon import command as daemon_command
from softsgx.platform.platform import Platform
from tests.conformance.run import SOFTSGX, run
from tests.service.holding import COUNTED, holding, listed, metrics, say, settled
from tests.service.serving import PATIENCE_S, Served, daemon, new_platform

pytestmark = [pytest.mark.runner, pytest.mark.slow]
PAGE = 4096
EPC = 1 << 20


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    directory = new_platform(tmp_path_factory.mktemp("seen") / "p", "--epc", "1M")
    with daemon(directory, "--metrics", "0") as one:
        yield one


@pytest.mark.parametrize("exact", [False, True], ids=["normal", "exact"])
def test_calls_and_exits_are_those_that_were(served: Served, *, exact: bool) -> None:
    assert settled(served) == []
    before = metrics(served)
    with holding(served, 50, 7, 5, exact=exact) as one:
        (row,) = listed(served)
        counts = row["counts"]
        assert (counts["entries"], counts["exits"], counts["aex"]) == (
            (one.entries, one.exits, one.aex)
        )
        assert (one.entries, one.aex) == (70, 7)
        assert counts["faults"] >= 5, "each page was added by a fault"
        assert (row["inside"], row["debug"], row["guest"]) == (1, False, None)
        assert row["exe"] == str(COUNTED.binary())
        assert len(row["mrenclave"]) == 64
        assert one.end() == 0
    assert settled(served) == []
    after = metrics(served)
    for name, rose in (("enclave_entries", 70), ("asynchronous_exits", 7)):
        total = f"softsgx_{name}_total", ""
        assert after[total] - before[total] == rose
    out = "softsgx_enclave_exits_total", ""
    assert after[out] - before[out] == 70, "the thread inside came out in the end"


def test_two_programs_on_an_epc_that_is_too_small(served: Served) -> None:
    assert settled(served) == []
    with holding(served, 1, 2, 400) as one, holding(served, 3, 1, 400) as two:
        first, second = listed(served)
        assert first["counts"]["entries"] == one.entries == 406
        assert second["counts"]["entries"] == two.entries == 406
        assert first["counts"]["aex"] == 2
        assert second["counts"]["aex"] == 1
        assert first["pids"] != second["pids"]
        for row in (first, second):
            paging = row["counts"]
            assert paging["evictions"] - paging["reloads"] == row["evicted"] // PAGE
        assert first["evicted"] > 0
        seen = metrics(served)
        used = sum(
            value for (name, _), value in seen.items() if name == "softsgx_epc_bytes"
        )
        assert used == seen["softsgx_epc_size_bytes", ""] == EPC
        resident = "softsgx_enclave_resident_bytes", first["mrenclave"]
        assert seen[resident] == first["resident"] + second["resident"]
        assert seen["softsgx_enclave_threads_inside", first["mrenclave"]] == 2
        assert (one.end(), two.end()) == (0, 0)
    assert settled(served) == []
    seen = metrics(served)
    assert seen["softsgx_epc_bytes", "free"] == EPC, "all of it came back"
    assert seen["softsgx_evicted_bytes", ""] == 0


def test_show_maps_pages_and_names_the_thread_inside(served: Served) -> None:
    assert settled(served) == []
    with holding(served, 1, 0, 400) as one:
        (row,) = listed(served)
        pid = row["pids"][0]
        shown = json.loads(say(served, "show", str(pid), "--json"))
        assert shown["eid"] == row["eid"]
        (inside,) = (tcs for tcs in shown["threads"] if tcs["pid"])
        assert inside["pid"] == pid
        assert inside["address"] == shown["base"] + 5 * PAGE
        assert Path(f"/proc/{pid}/task/{inside['tid']}").exists()
        assert inside["tid"] != pid
        size = {False: PAGE, True: 0}
        for run_of_pages in shown["pages"]:
            size[run_of_pages["evicted"]] += run_of_pages["size"]
        assert (size[False], size[True]) == (shown["resident"], shown["evicted"])
        types = {page["type"]: page["rights"] for page in shown["pages"]}
        assert types.keys() == {"REG", "TCS"}
        head, line = say(served, "ps").splitlines()
        assert head.split()[:4] == ["ID", "PID", "GUEST", "MRENCLAVE"]
        assert line.split()[:4] == [
            str(row["eid"]),
            str(pid),
            "-",
            row["mrenclave"][:12],
        ]
        assert " counted " in line
        assert line == line.rstrip()
        text = say(served, "show", row["mrenclave"][:8])
        assert f"mrenclave    {row['mrenclave']}" in text
        assert re.search(rf"inside +{pid} +{inside['tid']} ", text)
        assert " evicted" in text
        assert one.end() == 0


def agents_view(pid: int) -> range:
    """Return where a program's agent has all of an enclave's memory mapped."""
    text = Path(f"/proc/{pid}/maps").read_text()
    (found,) = re.findall(
        r"^(\w+)-(\w+) rw-s 0+ .*memfd:softsgx:/dev/sgx_enclave", text, re.MULTILINE
    )
    return range(int(found[0], 16), int(found[1], 16))


def test_a_program_that_writes_over_its_counts_harms_its_own_alone(
    tmp_path: Path,
) -> None:
    with (
        daemon(new_platform(tmp_path / "p"), "--metrics", "0") as served,
        holding(served, 1, 0, 0) as one,
        holding(served, 2, 0, 0) as two,
    ):
        rows = {row["counts"]["entries"]: row for row in listed(served)}
        liar, honest = rows[one.entries], rows[two.entries]
        pid, words = liar["pids"][0], liar["size"] // PAGE * 2
        view = agents_view(pid)
        behind = view.start + -(-(liar["size"] + words) // PAGE) * PAGE
        with Path(f"/proc/{pid}/mem").open("r+b", buffering=0) as memory:
            memory.seek(behind)
            memory.write(b"\xff" * (view.stop - behind))
        rows = {row["eid"]: row for row in listed(served)}
        assert rows[liar["eid"]]["counts"]["entries"] > 1 << 64
        assert rows[honest["eid"]] == honest
        shown = json.loads(say(served, "show", str(liar["eid"]), "--json"))
        (inside,) = (tcs for tcs in shown["threads"] if tcs["pid"])
        assert inside["tid"] == (1 << 32) - 1
        say(served, "top", "--delay", "0.1", "-n", "1")
        assert metrics(served)["softsgx_enclave_entries_total", ""] > 1 << 64
        assert (one.end(), two.end()) == (0, 0)
        assert settled(served) == []


def test_top_tells_how_often_things_happen(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert settled(served) == []
    with holding(served, 1, 0, 0) as one:
        words = say(served, "top", "--json", "--delay", "0.1", "-n", "2")
        first, second = map(json.loads, words.splitlines())
        for sample in (first, second):
            assert sample["seconds"] >= 0.1
            assert sample["epc"]["size"] == EPC
            (row,) = sample["enclaves"]
            assert row["inside"] == 1
            assert row["per_second"]["entries"] == 0, "its thread stays inside"
        monkeypatch.setenv("FORCE_COLOR", "1")
        text = say(served, "top", "--delay", "0.1", "-n", "1", "--sort", "calls")
        assert "\x1b[?1049h" not in text, "a file has no other screen"
        assert text.startswith("EPC 1M: ")
        assert "1 enclave, 1 thread inside" in text
        assert one.end() == 0


def test_top_lives_on_a_terminal_until_q(served: Served) -> None:
    leader, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 100))
    before = termios.tcgetattr(terminal)
    command = [SOFTSGX, "top", "--platform", str(served.directory), "--delay", "0.2"]
    environment = {**os.environ, "TERM": "xterm"}
    with subprocess.Popen(
        command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment
    ) as process:
        seen = b""
        end = time.monotonic() + PATIENCE_S
        while seen.count(b"EPC 1M") < 2:
            assert time.monotonic() < end, seen
            if select.select([leader], [], [], 0.1)[0]:
                seen += os.read(leader, 1 << 16)
        os.write(leader, b"q")
        assert process.wait(PATIENCE_S) == 0
    assert b"\x1b[?1049h" in seen, "a screen of its own"
    assert termios.tcgetattr(terminal) == before
    os.close(leader)
    os.close(terminal)


@pytest.mark.parametrize("command", [["ps"], ["top"], ["show", "1"]])
def test_without_a_daemon_there_is_one_line(tmp_path: Path, command: list[str]) -> None:
    done = run([SOFTSGX, *command, "--platform", str(tmp_path)], tmp_path)
    said = f"softsgx: {tmp_path}: no daemon serves this platform; `softsgx daemon` does"
    assert (done.code, done.stdout, done.stderr) == (1, "", f"{said}\n")


def test_an_enclave_that_is_not_there_is_one_line(served: Served) -> None:
    command = [SOFTSGX, "show", "--platform", str(served.directory), "nobody"]
    done = run(command, served.directory)
    said = "nobody: no such enclave; `softsgx ps` names those there are"
    assert (done.code, done.stderr) == (1, f"softsgx: {said}\n")


@pytest.mark.parametrize("word", ["", "x", "1:", "70000", "1:2:x", "-1"])
def test_a_place_for_metrics_that_is_none(word: str) -> None:
    done = CliRunner().invoke(daemon_command, ["--metrics", word])
    assert done.exit_code == 2
    assert f"{word!r} is no port, nor a host and a port like" in done.output


def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    Platform.create(tmp_path / "p").switch(on=True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        on = ["--platform", str(tmp_path / "p"), "--metrics", place]
        done = run([SOFTSGX, "daemon", *on], tmp_path)
    said = f"softsgx: {place}: Address already in use\n"
    assert (done.code, done.stderr) == (1, said)
