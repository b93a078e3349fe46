"""The posted grammar of the lists' files."""

import pytest

from softsgx.launch.entry import Entries, Entry
from softsgx.launch.keyfile import (
    FILES,
    AddKey,
    Clear,
    Command,
    Lock,
    parse_write,
    render,
)
from softsgx.launch.policy import ListName

KEY = b"Ab" * 32 + b"\n"
ADDED = AddKey(Entry(mrsigner=b"\xab" * 32))


@pytest.mark.parametrize(
    ("data", "command"),
    [(KEY, ADDED), (b"clear\n", Clear()), (b"clear!", Clear()), (b"lock\n", Lock())],
)
def test_a_write_is_one_command(data: bytes, command: Command) -> None:
    assert parse_write(data, 0) == command


@pytest.mark.parametrize(
    ("data", "position"),
    [
        (b"", 0),
        (KEY[:-1], 0),
        (KEY + b"\n", 0),
        (KEY * 2, 0),
        (KEY, 1),
        (b"ab" * 32 + b" ", 0),
        (b"ag" * 32 + b"\n", 0),
        (b" a" * 32 + b"\n", 0),
        (b"clear", 0),
        (b"clear\n\n", 0),
        (b"lock", 0),
        (b"locked", 0),
        (b"unlock\n", 0),
    ],
)
def test_anything_else_is_refused(data: bytes, position: int) -> None:
    with pytest.raises(ValueError, match=r"expected|a key is"):
        parse_write(data, position)


def test_a_wrong_size_or_place_is_said() -> None:
    with pytest.raises(ValueError, match="3 bytes at 7: a key is 65 at 0"):
        parse_write(b"abc", 7)


def test_reading_gives_a_line_a_key() -> None:
    entries = Entries((Entry(mrsigner=b"\xab" * 32), Entry(mrsigner=b"\x01" * 32)))
    assert render(entries) == b"ab" * 32 + b"\n" + b"01" * 32 + b"\n"
    assert render(Entries()) == b""


def test_the_files_are_the_lists() -> None:
    assert FILES["signing_keys"] is ListName.SIGNING
    assert sorted(FILES) == [
        "dynamic_keys",
        "launch_keys",
        "provisioning_keys",
        "signing_keys",
    ]
