"""The audit log: a line of JSON for each decision and change, chained and fsync'ed.

Each line has its number, the MAC of the line before, and its own MAC under a key of
the platform's.  `audit.head` names the last line, so that a cut end shows too.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from softsgx.platform.errors import PlatformError
from softsgx.platform.files import write_durably
from softsgx.platform.seal import Seal

LOG_NAME = "audit.jsonl"
HEAD_NAME = "audit.head"

_KEY_LABEL = b"softsgx audit log\0"
_TAIL = 1 << 16
"""Bytes at the end of the log that hold its last line."""

Record = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Who:
    """Who did something: numbers and paths as Linux shows them."""

    pid: int
    uid: int
    exe: str
    cgroup: str

    @classmethod
    def of(cls, pid: int) -> "Who":
        """Return what /proc says of a process; empty words for one that is gone."""
        place = Path("/proc", str(pid))
        try:
            uid = place.stat().st_uid
        except OSError:
            uid = -1
        return cls(pid=pid, uid=uid, exe=_exe(place), cgroup=_cgroup(place))


def _exe(place: Path) -> str:
    try:
        return str((place / "exe").readlink())
    except OSError:
        return ""


def _cgroup(place: Path) -> str:
    try:
        lines = (place / "cgroup").read_text().splitlines()
    except OSError:
        return ""
    return next((line[3:] for line in lines if line.startswith("0::")), "")


class AuditLog:
    """The log of one platform; any number of processes may append to it."""

    def __init__(self, directory: Path, seed: bytes):
        self.path = directory / LOG_NAME
        self._head = directory / HEAD_NAME
        self._seal = Seal(_KEY_LABEL, seed)

    def append(self, event: str, who: Who, **words: object) -> None:
        """Write a line, durably, before what it tells of happens."""
        try:
            with self._locked() as file:
                self._append(file, event, who, words)
        except OSError as error:
            raise PlatformError(f"{self.path}: {error.strerror}") from error
        except (ValueError, KeyError) as error:
            raise PlatformError(f"{self.path}: its last line is no record") from error

    def _append(
        self, file: BinaryIO, event: str, who: Who, words: dict[str, object]
    ) -> None:
        seq, prev = _last(file)
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        record: Record = {"seq": seq + 1, "time": time, "event": event}
        record |= asdict(who) | words | {"prev": prev}
        record["mac"] = self._seal.of(record)
        file.write(json.dumps(record, ensure_ascii=False).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
        head = {"seq": record["seq"], "mac": record["mac"]}
        write_durably(self._head, json.dumps(head).encode(), 0o600)

    def records(self, wait: Callable[[], bool] = lambda: False) -> Iterator[Record]:
        """Read the log's lines; PlatformError names one that is not ours.

        At the end *wait* is asked, and reading goes on for as long as it says yes.
        """
        number, part = 0, b""
        with self._reading() as file:
            while True:
                part += file.readline()
                if part.endswith(b"\n"):
                    number += 1
                    yield self._parsed(number, part)
                    part = b""
                elif not wait():
                    # What has no end yet was never finished, and nothing came of it.
                    return

    def verify(self) -> int:
        """Check the whole chain and return its length; PlatformError says where."""
        prev, count = "", 0
        head = self._read_head()
        seen_head = head["seq"] == 0
        for record in self.records():
            count += 1
            mac = record.pop("mac", "")
            if record.get("seq") != count:
                raise self._broken(count, f"it is number {record.get('seq')}")
            if record.get("prev") != prev:
                raise self._broken(count, "it does not follow the line before")
            if not self._seal.fits(record, mac):
                raise self._broken(count, "it was changed")
            seen_head |= head == {"seq": count, "mac": mac}
            prev = mac
        if not seen_head:
            raise self._broken(count + 1, f"{head['seq']} lines are known of")
        return count

    def _broken(self, line: int, what: str) -> PlatformError:
        return PlatformError(f"{self.path}: line {line}: {what}")

    def _parsed(self, number: int, line: bytes) -> Record:
        try:
            record = json.loads(line)
        except ValueError as error:
            raise self._broken(number, "not JSON") from error
        if not isinstance(record, dict):
            raise self._broken(number, "not a record")
        return record

    def _read_head(self) -> Record:
        try:
            head = json.loads(self._head.read_bytes())
        except FileNotFoundError:
            return {"seq": 0, "mac": ""}
        except ValueError as error:
            raise PlatformError(f"{self._head}: not JSON") from error
        return {"seq": head.get("seq"), "mac": head.get("mac")}

    def _reading(self) -> BinaryIO:
        try:
            return self.path.open("rb")
        except FileNotFoundError:
            return BytesIO()
        except OSError as error:
            raise PlatformError(f"{self.path}: {error.strerror}") from error

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "r+b") as file:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield file


def _last(file: BinaryIO) -> tuple[int, str]:
    """Return number and MAC of the last whole line; what follows it is cut off."""
    size = file.seek(0, os.SEEK_END)
    start = max(0, size - _TAIL)
    file.seek(start)
    tail = file.read()
    end = tail.rfind(b"\n") + 1
    file.truncate(start + end)
    file.seek(start + end)
    lines = tail[:end].splitlines()
    if not lines:
        return 0, ""
    last = json.loads(lines[-1])
    return last["seq"], last["mac"]
