import io
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from softsgx.crypto.passphrase import lock
from softsgx.launch.policy import Policy
from softsgx.platform.audit import Who
from softsgx.platform.errors import PlatformError
from softsgx.platform.platform import OsEntropy, Platform
from softsgx.platform.transfer import MAGIC, bring_in, export

WORD = "correct horse"


def lived_in(directory: Path) -> Platform:
    platform = Platform.create(directory).switch(on=True)
    who = Who.of(os.getpid())
    platform.policies().change(lambda old: replace(old, serial=old.serial + 1), who)
    platform.policies().lock(frozenset(), who)
    return platform


def test_a_platform_comes_back_whole(tmp_path: Path) -> None:
    made = lived_in(tmp_path / "here")
    there = bring_in(export(made, WORD), WORD, tmp_path / "deep" / "there")
    assert replace(there, directory=None) == replace(made, directory=None)
    assert there.policies().rule() == made.policies().rule()
    assert there.policies().rule().policy != Policy()
    log = there.policies().log
    assert log.verify() == made.policies().log.verify() + 1
    assert list(log.records())[-1]["event"] == "import"
    assert (tmp_path / "deep" / "there" / "seed").stat().st_mode & 0o777 == 0o600


def test_the_seed_is_not_in_the_file(tmp_path: Path) -> None:
    made = lived_in(tmp_path / "here")
    raw = export(made, WORD)
    assert made.seed not in raw
    assert raw.startswith(MAGIC)
    assert export(made, WORD) != raw


def changed(raw: bytes) -> bytes:
    return raw[:-1] + bytes([raw[-1] ^ 1])


@pytest.mark.parametrize(
    ("spoil", "word", "message"),
    [
        (lambda raw: raw, "wrong", "wrong passphrase, or the file was changed"),
        (changed, WORD, "wrong passphrase, or the file was changed"),
        (lambda raw: raw[: len(MAGIC) + 20], WORD, "wrong passphrase"),
        (lambda raw: raw[:-1], WORD, "wrong passphrase"),
        (lambda raw: b"x" + raw, WORD, "not an export of a platform"),
        (lambda _: b"", WORD, "not an export of a platform"),
        (
            lambda raw: raw.replace(b"platform 1\n", b"platform 7\n", 1),
            WORD,
            "an export of version 7, this softsgx knows 1",
        ),
    ],
)
def test_a_wrong_file_makes_nothing(
    tmp_path: Path, spoil: object, word: str, message: str
) -> None:
    assert callable(spoil)
    raw = spoil(export(lived_in(tmp_path / "here"), WORD))
    with pytest.raises(PlatformError, match=message):
        bring_in(raw, word, tmp_path / "there")
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_nothing_that_is_there_is_replaced(tmp_path: Path) -> None:
    raw = export(lived_in(tmp_path / "here"), WORD)
    (tmp_path / "there").mkdir()
    with pytest.raises(PlatformError, match="there already"):
        bring_in(raw, WORD, tmp_path / "there")


def tar_of(files: dict[str, bytes], kind: bytes = tarfile.REGTYPE) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.type, member.linkname = len(content), kind, "/etc"
            tar.addfile(member, io.BytesIO(content))
    return MAGIC + lock(WORD, packed.getvalue(), MAGIC, OsEntropy())


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (tar_of({"../seed": b""}), "'../seed' is no file of a platform"),
        (tar_of({"policies/../x": b""}), "is no file of a platform"),
        (tar_of({"seed": b""}, tarfile.SYMTYPE), "'seed' is no file of a platform"),
        (tar_of({"seed": bytes(32)}), "no platform.toml in it"),
        (tar_of({"seed": bytes(31), "platform.toml": b""}), "platform.toml"),
    ],
)
def test_an_export_by_another_hand_makes_nothing(
    tmp_path: Path, raw: bytes, message: str
) -> None:
    with pytest.raises(PlatformError, match=message):
        bring_in(raw, WORD, tmp_path / "there")
    assert list(tmp_path.iterdir()) == []
