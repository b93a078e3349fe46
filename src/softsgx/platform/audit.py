"""The audit log: a line of JSON for each decision and change, chained and fsync'ed.

Each line has its number, the MAC of the line before, and its own MAC under a key of
the platform's.  `audit.head` names the last line, so that a cut end shows too, and
nothing is written behind it.
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
from softsgx.platform.files import open_own, write_durably
from softsgx.platform.seal import Seal

LOG_NAME = "audit.jsonl"
HEAD_NAME = "audit.head"

_KEY_LABEL = b"softsgx audit log\0"
_BLOCK = 1 << 16
"""Bytes that are read at once, from the end of the log."""
_LONGEST = 1000
"""Characters of a word that are written down; paths are longer than that by malice."""
_LONGEST_LINE = 1 << 20
"""More bytes than a line of ours can have."""

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
        return cls(pid=pid, uid=_uid(place), exe=_exe(place), cgroup=_cgroup(place))


def _uid(place: Path) -> int:
    """Return the effective user; whose /proc/PID is, is not who runs it."""
    try:
        # A thread's name is in it too, and can be any bytes but a newline.
        lines = (place / "status").read_bytes().split(b"\n")
    except OSError:
        return -1
    uids = next(line for line in lines if line.startswith(b"Uid:"))
    return int(uids.split()[2])


def _exe(place: Path) -> str:
    try:
        return str((place / "exe").readlink())
    except OSError:
        return ""


def _cgroup(place: Path) -> str:
    try:
        lines = os.fsdecode((place / "cgroup").read_bytes()).split("\n")
    except OSError:
        return ""
    return next((line[3:] for line in lines if line.startswith("0::")), "")


def _clipped(word: object) -> object:
    if isinstance(word, str) and len(word) > _LONGEST:
        return word[:_LONGEST] + "..."
    return word


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
        except (ValueError, KeyError, TypeError) as error:
            raise PlatformError(f"{self.path}: its last line is no record") from error

    def begin(self) -> None:
        """Make a log without a line."""
        self._write_head(0, "")

    def _append(
        self, file: BinaryIO, event: str, who: Who, words: dict[str, object]
    ) -> None:
        seq, prev = self._last(file)
        time = datetime.now(UTC).isoformat(timespec="milliseconds")
        record: Record = {"seq": seq + 1, "time": time, "event": event}
        said = asdict(who) | words
        record |= {key: _clipped(word) for key, word in said.items()} | {"prev": prev}
        record["mac"] = self._seal.of(record)
        file.write(json.dumps(record).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
        self._write_head(record["seq"], record["mac"])

    def _write_head(self, seq: int, mac: str) -> None:
        words: dict[str, object] = {"seq": seq, "mac": mac}
        words["seal"] = self._seal.of(words)
        write_durably(self._head, json.dumps(words).encode(), 0o600)

    def _last(self, file: BinaryIO) -> tuple[int, str]:
        """Return number and MAC of the last whole line; what follows it is cut off."""
        line, end = b"", 0
        for line, end in self._backwards(file):  # noqa: B007 -- the first is wanted
            break
        last: Record = json.loads(line) if line else {"seq": 0, "mac": ""}
        known = self._read_head()
        if known["seq"] > last["seq"]:
            raise self._broken(last["seq"] + 1, f"{known['seq']} lines are known of")
        if known["seq"] == last["seq"] and known["mac"] != last["mac"]:
            raise self._broken(last["seq"], "it was changed")
        file.truncate(end)
        file.seek(end)
        return last["seq"], last["mac"]

    def newest(self) -> Iterator[Record]:
        """Read the log's lines from the last to the first; PlatformError as below."""
        with self._reading() as file:
            for line, _ in self._backwards(file):
                yield self._parsed("a line", line)

    def records(
        self, wait: Callable[[], bool] = lambda: False, *, start: int = 0
    ) -> Iterator[Record]:
        """Read the log's lines; PlatformError names one that is not ours.

        At the end *wait* is asked, and reading goes on for as long as it says yes.
        *start*: a size that the log had.
        """
        number, part = 0, b""
        with self._reading() as file:
            file.seek(start)
            while True:
                part += file.readline()
                if part.endswith(b"\n"):
                    number += 1
                    yield self._parsed(f"line {number}", part)
                    part = b""
                elif not wait():
                    # What has no end yet was never finished, and nothing came of it.
                    return

    def size(self) -> int:
        """Return the bytes of its whole lines."""
        with self._reading() as file:
            return next((end for _, end in self._backwards(file)), 0)

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

    def _parsed(self, where: str, line: bytes) -> Record:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise PlatformError(f"{self.path}: {where}: not JSON") from error
        if not isinstance(record, dict):
            raise PlatformError(f"{self.path}: {where}: not a record")
        return record

    def _read_head(self) -> Record:
        try:
            head: Record = json.loads(self._head.read_bytes())
            seal = head.pop("seal")
        except OSError as error:
            raise PlatformError(f"{self._head}: {error.strerror}") from error
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise PlatformError(f"{self._head}: no head of a log") from error
        if not self._seal.fits(head, seal):
            raise PlatformError(f"{self._head}: changed by another hand than softsgx's")
        return head

    def _reading(self) -> BinaryIO:
        try:
            return self.path.open("rb")
        except FileNotFoundError:
            return BytesIO()
        except OSError as error:
            raise PlatformError(f"{self.path}: {error.strerror}") from error

    def _backwards(self, file: BinaryIO) -> Iterator[tuple[bytes, int]]:
        """Yield the whole lines from the last to the first, and where each one ends."""
        at = file.seek(0, os.SEEK_END)
        part, end = b"", at
        is_whole = False
        while at:
            size = min(_BLOCK, at)
            at -= size
            file.seek(at)
            part = file.read(size) + part
            *lines, rest = reversed(part.split(b"\n"))
            for line in lines:
                if is_whole:
                    yield line, end
                end -= len(line) + (1 if is_whole else 0)
                is_whole = True
            part = rest
            if len(part) > _LONGEST_LINE:
                raise PlatformError(f"{self.path}: a line has no end")
        if is_whole:
            yield part, end

    @contextmanager
    def _locked(self) -> Iterator[BinaryIO]:
        fd = open_own(self.path)
        with os.fdopen(fd, "r+b") as file:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield file
