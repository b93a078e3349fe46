"""A whole platform in one file, locked by a passphrase: to bring back elsewhere.

A line that says what it is, then a locked tar of the platform's files.  All that makes
the machine itself goes along: its seed, the owner's key and policies, the audit log,
and its guests.
"""

import io
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

from softsgx.crypto.passphrase import WrongPassphrase, lock, unlock
from softsgx.launch.guests import GUEST_NAME
from softsgx.platform.audit import HEAD_NAME, LOG_NAME, Who
from softsgx.platform.errors import PlatformError
from softsgx.platform.files import appearing, write_durably
from softsgx.platform.guests import GUEST_FILES
from softsgx.platform.platform import (
    GUESTS_NAME,
    RECORD_NAME,
    SEED_NAME,
    OsEntropy,
    Platform,
)
from softsgx.platform.policies import POLICIES_NAME, STATE_NAME

MAGIC = b"softsgx platform 1\n"

_ONE = (RECORD_NAME, SEED_NAME, STATE_NAME, LOG_NAME, HEAD_NAME)
_POLICY_SUFFIXES = (".toml", ".sig")
_HEX = frozenset("0123456789abcdef")
_MODES = {RECORD_NAME: 0o644}
_MOST = 1 << 30
"""Most bytes of a platform's files that are taken in."""


def export(platform: Platform, passphrase: str) -> bytes:
    """Return the file of a platform; nothing of it changes meanwhile."""
    if platform.directory is None:
        raise ValueError("a platform of one run has no directory")
    directory = platform.directory
    packed = io.BytesIO()
    try:
        with (
            platform.policies().unchanging(),
            tarfile.open(fileobj=packed, mode="w") as tar,
        ):
            for name in _names(directory):
                _add(tar, name, (directory / name).read_bytes())
    except OSError as error:
        raise PlatformError(f"{error.filename}: {error.strerror}") from error
    return MAGIC + lock(passphrase, packed.getvalue(), MAGIC, OsEntropy())


def bring_in(raw: bytes, passphrase: str, directory: Path) -> Platform:
    """Make a platform in a new directory of what `export` gave; PlatformError."""
    if not raw.startswith(MAGIC):
        raise PlatformError(_what_else(raw))
    try:
        packed = unlock(passphrase, raw[len(MAGIC) :], MAGIC)
    except WrongPassphrase as error:
        raise PlatformError("wrong passphrase, or the file was changed") from error
    if directory.exists():
        raise PlatformError(f"{directory}: there already")
    try:
        _appear(directory, _unpacked(packed))
    except OSError as error:
        raise PlatformError(f"{directory}: {error.strerror}") from error
    return Platform.open(directory)


def _names(directory: Path) -> Iterator[str]:
    yield from (name for name in _ONE if (directory / name).exists())
    for path in sorted((directory / POLICIES_NAME).glob("*")):
        if _is_policy(path.name):
            yield f"{POLICIES_NAME}/{path.name}"
    for path in sorted((directory / GUESTS_NAME).glob("*/*")):
        name = f"{GUESTS_NAME}/{path.parent.name}/{path.name}"
        if _is_guests(name):
            yield name


def _is_policy(name: str) -> bool:
    stem, dot, suffix = name.partition(".")
    return len(stem) == 64 and set(stem) <= _HEX and dot + suffix in _POLICY_SUFFIXES


def _is_guests(name: str) -> bool:
    place, _, file = name.rpartition("/")
    root, _, guest = place.partition("/")
    is_guest = root == GUESTS_NAME and GUEST_NAME.fullmatch(guest) is not None
    return is_guest and file in GUEST_FILES


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _unpacked(packed: bytes) -> dict[str, bytes]:
    """Read the tar; only the files of a platform may be in it."""
    if len(packed) > _MOST:
        raise PlatformError("it is too large for a platform")
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(packed), mode="r:") as tar:
            for member in tar:
                file = tar.extractfile(member) if member.isreg() else None
                place, _, name = member.name.rpartition("/")
                known = place == POLICIES_NAME and _is_policy(name)
                known = known or _is_guests(member.name) or member.name in _ONE
                if file is None or not known:
                    raise PlatformError(f"{member.name!r} is no file of a platform")
                files[member.name] = file.read()
    except tarfile.TarError as error:
        raise PlatformError(f"not a platform's files: {error}") from error
    if missing := {RECORD_NAME, SEED_NAME} - files.keys():
        raise PlatformError(f"no {min(missing)} in it")
    return files


def _appear(directory: Path, files: dict[str, bytes]) -> None:
    with appearing(directory) as beside:
        for name, content in files.items():
            path = beside / name
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_durably(path, content, _MODES.get(name, 0o600))
        # Refused here, it never appears: a version of another softsgx, a wrong log.
        policies = Platform.open(beside).policies()
        policies.rule()
        policies.log.append("import", Who.of(os.getpid()))


def _what_else(raw: bytes) -> str:
    if raw.startswith(b"softsgx platform "):
        version = raw[:40].split(b"\n")[0].rsplit(b" ")[-1].decode(errors="replace")
        return f"an export of version {version}, this softsgx knows 1"
    return "not an export of a platform"
