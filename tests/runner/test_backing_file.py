"""The program's file for evicted pages: nobody waits for it who has the turn."""

import errno
import os
import time
from _thread import allocate_lock
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from softsgx.driver.protocols import NotYetError
from softsgx.native.backing import BackingStore, Image, Place, places
from softsgx.runner.backing_file import BackingFile

CAP_SYS_RESOURCE = 24
FIRST: Place = (0x10000, 0x900000)


def image(number: int) -> Image:
    return bytes([number]) * 4096, bytes([number ^ 0xFF]) * 128


IMAGES = [image(number) for number in range(1, 41)]


@pytest.fixture
def fd() -> Iterator[int]:
    fd = os.memfd_create("file")
    yield fd
    os.close(fd)


@pytest.fixture
def file(fd: int) -> Iterator[BackingFile]:
    file = BackingFile(os.dup(fd))
    yield file
    file.close()


def soon(is_so: Callable[[], bool]) -> None:
    latest = time.monotonic() + 120
    while not is_so():
        assert time.monotonic() < latest
        time.sleep(0.001)


def is_written(fd: int, images: list[Image]) -> bool:
    found = BackingStore(fd).read(FIRST, len(images))
    return [(bytes(page), bytes(pcmd)) for page, pcmd in found] == images


def read(file: BackingFile, place: Place, count: int) -> tuple[list[Image], int]:
    """Return what is there, and how often somebody had to wait for it."""
    waits = 0
    while True:
        try:
            found = file.read(place, count)
        except NotYetError as wait:
            waits += 1
            wait.fetch()
        else:
            return [(bytes(page), bytes(pcmd)) for page, pcmd in found], waits


class Gate:
    """Stands before the file's writes; *error*: what they end with."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.lock = allocate_lock()
        self.error: OSError | None = None
        write = BackingStore._write

        def held(store: BackingStore, place: Place, images: list[Image]) -> None:
            with self.lock:
                if self.error is not None:
                    raise self.error
                write(store, place, images)

        patch.setattr(BackingStore, "_write", held)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


def test_what_is_written_is_in_the_file_soon(file: BackingFile, fd: int) -> None:
    file.write(FIRST, IMAGES)
    soon(lambda: is_written(fd, IMAGES))


def test_a_file_that_hangs_holds_nobody_up(
    file: BackingFile, fd: int, gate: Gate
) -> None:
    with gate.lock:
        file.write(FIRST, IMAGES)
        assert read(file, FIRST, 40) == (IMAGES, 0)
        file.write(FIRST, IMAGES[::-1])
        file.reserve()
        assert read(file, FIRST, 40) == (IMAGES[::-1], 0)
    soon(lambda: is_written(fd, IMAGES[::-1]))


def test_what_is_only_in_the_file_is_waited_for_once(
    file: BackingFile, fd: int
) -> None:
    BackingStore(fd).write(FIRST, IMAGES)
    assert read(file, FIRST, 3) == (IMAGES[:3], 1)
    assert read(file, FIRST, 2) == (IMAGES[:2], 0)


def test_what_was_fetched_before_a_write_is_not_taken_for_it(
    file: BackingFile, fd: int
) -> None:
    BackingStore(fd).write(FIRST, IMAGES[:1])
    with pytest.raises(NotYetError) as early:
        file.read(FIRST, 1)
    early.value.fetch()
    file.write(FIRST, IMAGES[5:6])
    soon(lambda: is_written(fd, IMAGES[5:6]) and not file._kept)
    assert read(file, FIRST, 1) == (IMAGES[5:6], 1)


def test_a_fetch_that_a_write_overtakes_counts_for_nothing(
    file: BackingFile, fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    BackingStore(fd).write(FIRST, IMAGES[:1])
    look = BackingStore.read

    def late(store: BackingStore, place: Place, count: int) -> list[Image]:
        found = look(store, place, count)
        if not file._writes:
            file.write(FIRST, IMAGES[5:6])
            soon(lambda: not file._kept)
        return found

    monkeypatch.setattr(BackingStore, "read", late)
    assert read(file, FIRST, 1) == (IMAGES[5:6], 2)


def test_a_full_disk_is_told_until_it_takes_what_it_owes(
    file: BackingFile, fd: int, gate: Gate
) -> None:
    gate.error = OSError(errno.ENOSPC, "No space left on device")
    file.write(FIRST, IMAGES)
    soon(lambda: file._failure is not None)
    for _ in range(3):
        with pytest.raises(OSError, match="No space"):
            file.reserve()
    assert read(file, FIRST, 40) == (IMAGES, 0)
    gate.error = None

    def takes_more() -> bool:
        try:
            file.reserve()
        except OSError:
            return False
        return True

    soon(takes_more)
    soon(lambda: is_written(fd, IMAGES))


def test_a_file_that_cannot_be_read_is_zeros(
    file: BackingFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> list[Image]:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(BackingStore, "read", broken)
    assert read(file, FIRST, 2) == ([(bytes(4096), bytes(128))] * 2, 1)


def test_it_is_closed_when_its_write_has_ended(fd: int, gate: Gate) -> None:
    mine = os.dup(fd)
    file = BackingFile(mine)
    with gate.lock:
        file.write(FIRST, IMAGES)
        file.close()
        os.fstat(mine)

    def is_closed() -> bool:
        try:
            os.fstat(mine)
        except OSError:
            return True
        return False

    soon(is_closed)


def test_a_store_keeps_what_it_cannot_write(fd: int, gate: Gate) -> None:
    store = BackingStore(os.dup(fd))
    store.write(FIRST, IMAGES[:2])
    gate.error = OSError(errno.ENOMEM, "Cannot allocate memory")
    store.write(next(places(FIRST, 1)), IMAGES[7:8])
    assert store.read(FIRST, 2) == [IMAGES[7], IMAGES[1]]
    with pytest.raises(OSError, match="memory"):
        store.reserve()
    gate.error = None
    store.reserve()
    assert is_written(fd, [IMAGES[7], IMAGES[1]])
    store.close()


def test_without_a_thread_pages_wait_and_are_told_of(
    file: BackingFile, fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_thread(*_: object) -> int:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("softsgx.runner.backing_file.start_new_thread", no_thread)
    file.write(FIRST, IMAGES)
    with pytest.raises(OSError, match="no thread"):
        file.reserve()
    assert read(file, FIRST, 40) == (IMAGES, 0)
    monkeypatch.undo()
    with pytest.raises(OSError, match="no thread"):
        file.reserve()
    soon(lambda: is_written(fd, IMAGES))
    file.reserve()


def test_a_file_has_no_page_beyond_its_users_limit(fd: int) -> None:
    file = BackingFile(os.dup(fd), limit=FIRST[0] + 4096)
    file.write(FIRST, IMAGES[:1])  # its PCMD is beyond
    soon(lambda: has_failed(file, errno.EFBIG))
    assert read(file, FIRST, 1) == (IMAGES[:1], 0)
    assert os.fstat(fd).st_size == 0
    file.close()


def has_failed(file: BackingFile, number: int) -> bool:
    try:
        file.reserve()
    except OSError as error:
        return error.errno == number
    return False


def rights() -> tuple[str, int]:
    """Return as whom this thread uses files, and its capabilities."""
    text = Path("/proc/thread-self/status").read_text()
    lines = dict(line.split(":", 1) for line in text.splitlines())
    return lines["Uid"].split()[3], int(lines["CapEff"], 16)


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_a_file_is_written_by_its_users_rights(fd: int) -> None:
    seen: list[tuple[str, int]] = []

    class Seeing(BackingFile):
        def _write(self, place: Place, images: Sequence[Image]) -> None:
            seen.append(rights())
            super()._write(place, images)

    mine = rights()
    file = Seeing(os.dup(fd), user=(65534, 65534))
    file.write(FIRST, IMAGES[:2])
    soon(lambda: is_written(fd, IMAGES[:2]))
    ((uid, capabilities),) = seen
    assert uid == "65534"
    assert not capabilities >> CAP_SYS_RESOURCE & 1
    assert rights() == mine  # ours are as they were
    file.close()
