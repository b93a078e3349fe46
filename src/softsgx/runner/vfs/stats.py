"""struct stat, struct statx and struct linux_dirent64 of a view, see stat(2)."""

import os
import stat
from collections.abc import Iterable
from struct import Struct

from softsgx.runner.vfs.views import MISC_MAJOR, Kind, View

_STAT = Struct("<QQQIIIIQqqq6Q24x")
_STATX = Struct("<IIQIIIHxxQQQQ qIi qIi qIi qIi IIII 112x")
_BASIC_STATS = 0x7FF
_DIRENT = Struct("<QqHB")
_PAGE = 4096
_LARGEST = (1 << 63) - 1
_NO_TIME = (0, 0, 0)
_NS = 1_000_000_000

_TYPES = {
    Kind.NODE: stat.S_IFCHR,
    Kind.DIRECTORY: stat.S_IFDIR,
    Kind.LINK: stat.S_IFLNK,
    Kind.TEXT: stat.S_IFREG,
}


def stat_of(view: View) -> bytes:
    """Return struct stat, 144 bytes; file system and times are its directory's."""
    near = _near(view)
    seconds = divmod(near.st_mtime_ns, _NS)
    return _STAT.pack(
        near.st_dev,
        view.number,
        _links(view),
        _TYPES[view.kind] | view.mode,
        view.uid,
        view.gid,
        0,
        os.makedev(MISC_MAJOR, view.minor) if view.minor else 0,
        view.size,
        _PAGE,
        0,
        *(*seconds, *seconds, *seconds),
    )


def statx_of(view: View) -> bytes:
    """Return struct statx, 256 bytes."""
    near = _near(view)
    time = (*divmod(near.st_mtime_ns, _NS), 0)
    return _STATX.pack(
        _BASIC_STATS,
        _PAGE,
        0,
        _links(view),
        view.uid,
        view.gid,
        _TYPES[view.kind] | view.mode,
        view.number,
        view.size,
        0,
        0,
        *(*time, *_NO_TIME, *time, *time),
        MISC_MAJOR if view.minor else 0,
        view.minor,
        os.major(near.st_dev),
        os.minor(near.st_dev),
    )


def native_stat(status: os.stat_result) -> bytes:
    """Return struct stat of what this machine has."""
    times = (status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns)
    return _STAT.pack(
        status.st_dev,
        status.st_ino,
        status.st_nlink,
        status.st_mode,
        status.st_uid,
        status.st_gid,
        0,
        status.st_rdev,
        status.st_size,
        status.st_blksize,
        status.st_blocks,
        *(part for time in times for part in divmod(time, _NS)),
    )


def native_statx(status: os.stat_result) -> bytes:
    """Return struct statx of what this machine has, without its birth."""
    times = (status.st_atime_ns, status.st_mtime_ns, status.st_ctime_ns)
    access, modified, changed = ((*divmod(time, _NS), 0) for time in times)
    return _STATX.pack(
        _BASIC_STATS,
        status.st_blksize,
        0,
        status.st_nlink,
        status.st_uid,
        status.st_gid,
        status.st_mode,
        status.st_ino,
        status.st_size,
        status.st_blocks,
        0,
        *(*access, *_NO_TIME, *changed, *modified),
        os.major(status.st_rdev),
        os.minor(status.st_rdev),
        os.major(status.st_dev),
        os.minor(status.st_dev),
    )


def dirents(views: Iterable[View], position: int) -> bytes:
    """Return directory entries that all point to *position*, where reading goes on."""
    return b"".join(
        _dirent(view.name, view.number, _TYPES[view.kind], position) for view in views
    )


def dots(view: View, position: int) -> bytes:
    """Return the entries of a directory for itself and the one above."""
    return b"".join(
        _dirent(name, view.number, stat.S_IFDIR, position) for name in (".", "..")
    )


def _dirent(name: str, inode: int, kind: int, position: int) -> bytes:
    size = -(-(_DIRENT.size + len(name) + 1) // 8) * 8
    head = _DIRENT.pack(inode, position & _LARGEST, size, kind >> 12)
    return (head + name.encode()).ljust(size, b"\0")


def _links(view: View) -> int:
    return 2 if view.kind is Kind.DIRECTORY else 1


def _near(view: View) -> os.stat_result:
    """Return the status of the nearest directory that this machine has."""
    path = view.parent
    while path and not os.path.lexists(path):
        path = path.rpartition("/")[0]
    return os.lstat(path or "/")
