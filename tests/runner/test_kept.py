"""What is kept from run to run: only what nobody else could have written is read."""

import os
import stat
import time
from pathlib import Path

import pytest

from softsgx.runner.code.host_code import TextScanner
from softsgx.runner.kept import Kept
from tests.runner.test_text import built


def environ(home: Path) -> dict[str, str]:
    return {"XDG_CACHE_HOME": str(home)}


def kept(home: Path) -> Kept:
    return Kept("lines", environ(home))


def test_a_line_is_there_in_the_next_run(tmp_path: Path) -> None:
    kept(tmp_path).keep("a key of 5 words", "word")
    assert kept(tmp_path).get("a key of 5 words") == "word"
    assert kept(tmp_path).get("a key") is None


def test_the_last_line_of_a_key_holds(tmp_path: Path) -> None:
    for word in ("one", "two"):
        kept(tmp_path).keep("key", word)
    assert kept(tmp_path).get("key") == "two"


def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    kept(tmp_path).keep("key", "word")
    path = tmp_path / "softsgx" / "lines"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("what", ["softsgx", "softsgx/lines"])
def test_what_others_may_write_is_not_read(tmp_path: Path, what: str) -> None:
    kept(tmp_path).keep("key", "word")
    (tmp_path / what).chmod(0o722)
    assert kept(tmp_path).get("key") is None
    kept(tmp_path).keep("other", "word")
    assert b"other" not in (tmp_path / "softsgx" / "lines").read_bytes()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("key word\n")
    (tmp_path / "softsgx").mkdir(mode=0o700)
    (tmp_path / "softsgx" / "lines").symlink_to(tmp_path / "elsewhere")
    assert kept(tmp_path).get("key") is None


@pytest.mark.parametrize("variables", [{}, {"HOME": ""}, {"XDG_CACHE_HOME": "here"}])
def test_without_a_place_nothing_is_kept(variables: dict[str, str]) -> None:
    lines = Kept("lines", variables)
    lines.keep("key", "word")
    assert lines.get("key") == "word"
    assert Kept("lines", variables).get("key") is None


def test_a_line_that_was_cut_short_spoils_no_other(tmp_path: Path) -> None:
    kept(tmp_path).keep("one", "1")
    path = tmp_path / "softsgx" / "lines"
    path.write_bytes(path.read_bytes() + b"two 22")
    torn = kept(tmp_path)
    assert torn.get("two") is None
    torn.keep("three", "3")
    again = kept(tmp_path)
    assert (again.get("one"), again.get("three")) == ("1", "3")


def test_a_file_that_grew_too_large_begins_anew(tmp_path: Path) -> None:
    kept(tmp_path).keep("key", "word")
    path = tmp_path / "softsgx" / "lines"
    path.write_bytes(path.read_bytes() + b"other " + b"x" * (1 << 20) + b"\n")
    assert kept(tmp_path).get("key") is None
    assert path.stat().st_size == 0


def test_a_file_without_room_for_another_line_begins_anew(tmp_path: Path) -> None:
    def is_there_after_a_run() -> bool:
        kept(tmp_path).keep(key, "x" * 100_000)
        return kept(tmp_path).get(key) is not None

    for number in range(12):
        key = f"key {number}"
        assert is_there_after_a_run() or is_there_after_a_run()


def test_nobody_fills_the_file_or_memory(tmp_path: Path) -> None:
    many = kept(tmp_path)
    for number in range(3000):
        many.keep(str(number), "x" * 1000)
    assert many.get("0") == "x" * 1000
    assert many.get("2999") is None
    assert (tmp_path / "softsgx" / "lines").stat().st_size <= 1 << 20


def test_places_are_kept_for_a_file_that_has_settled(tmp_path: Path) -> None:
    binary = built(tmp_path)
    first = TextScanner(kept(tmp_path)).sites(str(binary))
    path = tmp_path / "softsgx" / "lines"
    assert path.read_bytes() == b""
    time.sleep(2.1)
    assert TextScanner(kept(tmp_path)).sites(str(binary)) == first
    assert ",".join(map(str, first)) in path.read_text()


@pytest.mark.parametrize("word", ["", ",", "7,", "9,8", "8,8", "x", "-1", "9" * 19])
def test_places_that_are_not_in_order_are_found_anew(tmp_path: Path, word: str) -> None:
    binary = built(tmp_path)
    found = TextScanner().sites(str(binary))
    status = os.stat(binary)  # noqa: PTH116 -- as the code under test
    times = (status.st_mtime_ns, status.st_ctime_ns)
    key = (status.st_dev, status.st_ino, *times, status.st_size)
    lines = kept(tmp_path)
    lines.keep(" ".join(map(str, key)), word)
    assert TextScanner(kept(tmp_path)).sites(str(binary)) == found
    lines.keep(" ".join(map(str, key)), "77")
    assert TextScanner(kept(tmp_path)).sites(str(binary)) == (77,)
