"""The audit log: lines that follow each other, and what shows when they do not."""

import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from softsgx.platform import audit
from softsgx.platform.audit import AuditLog, Who
from softsgx.platform.errors import PlatformError

ME = Who(pid=7, uid=1, exe="/bin/é", cgroup="/a")
SEED = bytes(32)


@pytest.fixture
def log(tmp_path: Path) -> AuditLog:
    made = AuditLog(tmp_path, SEED)
    made.begin()
    return made


def lines(log: AuditLog) -> list[bytes]:
    return log.path.read_bytes().splitlines(keepends=True)


def test_a_line_says_what_who_and_when(log: AuditLog) -> None:
    log.append("init", ME, verdict="deny", isvsvn=3)
    (record,) = log.records()
    assert record["event"] == "init"
    assert (record["pid"], record["uid"], record["exe"]) == (7, 1, "/bin/é")
    assert (record["verdict"], record["isvsvn"], record["seq"]) == ("deny", 3, 1)
    assert record["time"].endswith("+00:00")
    assert os.stat(log.path).st_mode & 0o777 == 0o600  # noqa: PTH116


def test_an_empty_log_verifies(log: AuditLog) -> None:
    assert log.verify() == 0
    assert list(log.records()) == []


def test_a_whole_log_verifies(log: AuditLog) -> None:
    for number in range(5):
        log.append("init", ME, number=number)
    assert log.verify() == 5
    assert AuditLog(log.path.parent, SEED).verify() == 5


def changed(all_: list[bytes]) -> list[bytes]:
    return [all_[0], all_[1].replace(b'"number": 1', b'"number": 9'), *all_[2:]]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        pytest.param(lambda all_: all_[:1] + all_[2:], "line 2: it is number 3"),
        pytest.param(lambda all_: all_[1:], "line 1: it is number 2"),
        pytest.param(lambda all_: all_[:-1], "line 4: 4 lines are known of"),
        pytest.param(lambda _: [], "line 1: 4 lines are known of"),
        pytest.param(changed, "line 2: it was changed"),
        pytest.param(lambda all_: [*all_[:3], b"junk\n"], "line 4: not JSON"),
        pytest.param(lambda all_: [*all_[:3], b"[]\n"], "line 4: not a record"),
    ],
)
def test_what_was_done_to_it_shows(log: AuditLog, spoil: object, message: str) -> None:
    for number in range(4):
        log.append("init", ME, number=number)
    assert callable(spoil)
    log.path.write_bytes(b"".join(spoil(lines(log))))
    with pytest.raises(PlatformError, match=message):
        log.verify()


def test_a_line_of_another_platform_shows(log: AuditLog, tmp_path: Path) -> None:
    other = AuditLog(tmp_path / "other", bytes([1]) * 32)
    other.path.parent.mkdir()
    other.begin()
    for each in (log, other):
        each.append("init", ME)
    log.path.write_bytes(other.path.read_bytes())
    with pytest.raises(PlatformError, match="line 1: it was changed"):
        log.verify()


def test_a_line_moved_to_another_place_shows(log: AuditLog) -> None:
    for number in range(3):
        log.append("init", ME, number=number)
    moved = [json.loads(line) for line in lines(log)]
    moved[0]["seq"], moved[1]["seq"] = 2, 1
    moved = [moved[1], moved[0], moved[2]]
    log.path.write_text("".join(json.dumps(one) + "\n" for one in moved))
    with pytest.raises(PlatformError, match="line 1: it does not follow"):
        log.verify()


def test_half_a_line_is_cut_off_by_the_next(log: AuditLog) -> None:
    log.append("init", ME)
    with log.path.open("ab") as file:
        file.write(b'{"seq": 2, "ev')
    assert log.verify() == 1
    log.append("lock", ME)
    assert log.verify() == 2
    assert [record["event"] for record in log.records()] == ["init", "lock"]


@pytest.mark.parametrize("kept", [0, 1, 3])
def test_nothing_is_written_behind_an_end_that_was_cut_off(
    log: AuditLog, kept: int
) -> None:
    for _ in range(4):
        log.append("init", ME)
    log.path.write_bytes(b"".join(lines(log)[:kept]))
    before = log.path.read_bytes()
    with pytest.raises(PlatformError, match=f"line {kept + 1}: 4 lines are known of"):
        log.append("init", ME)
    assert log.path.read_bytes() == before


def test_a_changed_end_takes_no_line(log: AuditLog) -> None:
    log.append("init", ME)
    log.path.write_bytes(log.path.read_bytes().replace(b'"mac": "', b'"mac": "0'))
    with pytest.raises(PlatformError, match="line 1: it was changed"):
        log.append("init", ME)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (None, "No such file"),
        (b"junk", "no head of a log"),
        (b"[]", "no head of a log"),
        (b'{"seq": 0, "mac": ""}', "no head of a log"),
        (b'{"seq": 0, "mac": "", "seal": ""}', "changed by another hand"),
    ],
)
def test_a_head_that_is_not_ours_stops_everything(
    log: AuditLog, head: bytes | None, message: str
) -> None:
    log.append("init", ME)
    path = log.path.parent / "audit.head"
    path.unlink() if head is None else path.write_bytes(head)
    for ask in (log.verify, lambda: log.append("init", ME)):
        with pytest.raises(PlatformError, match=message):
            ask()


def test_a_line_without_an_end_is_not_read_for_ever(log: AuditLog) -> None:
    with log.path.open("wb") as file:
        file.truncate(8 << 20)
    with pytest.raises(PlatformError, match="a line has no end"):
        log.append("init", ME)


def test_long_words_are_clipped(log: AuditLog) -> None:
    log.append("init", replace(ME, exe="/" + "x" * 5000), reason="y" * 5000)
    (record,) = log.records()
    assert {len(record[key]) for key in ("exe", "reason")} == {1003}
    log.append("init", ME)
    assert log.verify() == 2


@pytest.mark.parametrize(
    "exe", ["/a\nb", "/a\udcffb", "/\u2028", '/"\\', "/\x0b\x1b[m"]
)
def test_any_path_is_a_word(log: AuditLog, exe: str) -> None:
    log.append("init", replace(ME, exe=exe))
    log.append("init", ME)
    assert [record["exe"] for record in log.records()] == [exe, ME.exe]
    assert log.verify() == 2


@pytest.mark.parametrize("size", [1, 7, 64, 1 << 16])
def test_the_newest_come_first(
    log: AuditLog, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(audit, "_BLOCK", size)
    assert list(log.newest()) == []
    for _ in range(5):
        log.append("init", ME)
    whole = log.path.stat().st_size
    with log.path.open("ab") as file:
        file.write(b"half")
    assert log.size() == whole
    assert list(log.newest()) == list(log.records())[::-1]
    log.append("init", ME)
    (last,) = log.records(start=whole)
    assert last["seq"] == 6


def test_a_link_is_no_log(log: AuditLog, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.write_bytes(b"kept")
    log.path.symlink_to(target)
    with pytest.raises(PlatformError, match="symbolic links"):
        log.append("init", ME)
    assert target.read_bytes() == b"kept"


def test_a_last_line_that_is_junk_stops_everything(log: AuditLog) -> None:
    log.path.write_bytes(b"junk\n")
    with pytest.raises(PlatformError, match="its last line is no record"):
        log.append("init", ME)


def test_a_head_that_is_ahead_by_a_kill_is_none(log: AuditLog) -> None:
    # killed between the line and the head: the head is one behind
    log.append("init", ME)
    head = (log.path.parent / "audit.head").read_bytes()
    log.append("init", ME)
    (log.path.parent / "audit.head").write_bytes(head)
    assert log.verify() == 2


def test_lines_of_many_writers_follow_each_other(log: AuditLog) -> None:
    def write() -> None:
        mine = AuditLog(log.path.parent, SEED)
        for _ in range(10):
            mine.append("init", ME)

    writers = [threading.Thread(target=write) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert log.verify() == 40


def test_following_goes_on_while_it_is_told(log: AuditLog) -> None:
    log.append("init", ME)
    waits = []

    def wait() -> bool:
        waits.append(1)
        if len(waits) == 1:
            log.append("lock", ME)
        return len(waits) < 3

    assert [record["event"] for record in log.records(wait)] == ["init", "lock"]
    assert len(waits) == 3


def test_a_log_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    log = AuditLog(tmp_path / "nowhere", SEED)
    with pytest.raises(PlatformError, match="No such file or directory"):
        log.append("init", ME)


def test_who_is_what_proc_says() -> None:
    me = Who.of(os.getpid())
    assert me.uid == os.geteuid()
    assert me.exe == str(Path("/proc/self/exe").readlink())
    assert me.cgroup.startswith("/")
    assert Who.of(0) == Who(pid=0, uid=-1, exe="", cgroup="")
