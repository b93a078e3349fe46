"""Files that a kill at any point leaves either old or new, never half."""

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from softsgx.platform.errors import PlatformError


def write_durably(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace the file at *path*: write beside it, fsync, rename, fsync the place.

    OSError names the file, also where the disk is full.
    """
    beside = name_beside(path)
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(fd, "wb") as file:
            os.fchmod(fd, mode)
            file.write(data)
            file.flush()
            os.fsync(fd)
        beside.replace(path)
    except BaseException as error:
        beside.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)
        raise
    sync_directory(path.parent)


def open_own(path: Path) -> int:
    """Open a file of ours to read and write, made if need be; no link to another's."""
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
    fd = os.open(path, flags, 0o600)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return fd


def open_lock(path: Path) -> int:
    """Open a lock of ours as `open_own` does; PlatformError says why not."""
    try:
        return open_own(path)
    except OSError as error:
        raise PlatformError(f"{path}: {error.strerror}") from error


def name_beside(path: Path) -> Path:
    """Return a fresh name in the same directory, for what will become *path*."""
    return path.with_name(f".{path.name}.{os.urandom(6).hex()}")


@contextmanager
def appearing(directory: Path) -> Iterator[Path]:
    """Give a place to fill, which becomes *directory*: whole, or not at all."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    beside = name_beside(directory)
    beside.mkdir(mode=0o700)
    try:
        yield beside
        beside.rename(directory)
    except BaseException:
        shutil.rmtree(beside)
        raise
    sync_directory(directory.parent)


def sync_directory(path: Path) -> None:
    """Make what was renamed in a directory survive a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
