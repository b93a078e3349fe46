"""System calls that make, move or take away a name, or change what is at one.

Files of the machine have their names from the kernel: nobody makes them anew, and here
nobody takes them away.  Numbers are those of syscalls(2) for x86-64.
"""

import errno
import os
import stat
from dataclasses import replace

from softsgx.runner.answers import NOT_OURS
from softsgx.runner.vfs.credentials import W_OK, X_OK, Credentials
from softsgx.runner.vfs.lookup import AT_FDCWD
from softsgx.runner.vfs.path_call import (
    AT_EMPTY_PATH,
    AT_SYMLINK_NOFOLLOW,
    Args,
    Handler,
    PathCall,
    with_inode,
)
from softsgx.runner.vfs.views import Kind, View, Views

_AT_REMOVEDIR = 0x200
_AT_SYMLINK_FOLLOW = 0x400
_RENAME_NOREPLACE = 1
_RENAME_FLAGS = 7
_U32 = (1 << 32) - 1
_KEEP = _U32
"""For chown: the owner stays."""


class Names:
    """Answers them for one machine."""

    def __init__(self, views: Views):
        self._views = views

    def handlers(self) -> dict[int, Handler]:
        """Return what carries out each call, by its number."""
        here = AT_FDCWD
        return {
            76: self._truncate,
            82: lambda a, r: self._rename(a, (here, r[0]), (here, r[1]), 0),
            83: lambda a, r: self._make(a, here, r[0]),
            84: lambda a, r: self._remove(a, here, r[0], _AT_REMOVEDIR),
            86: lambda a, r: self._link(a, (here, r[0]), (here, r[1]), 0),
            87: lambda a, r: self._remove(a, here, r[0], 0),
            88: lambda a, r: self._make(a, here, r[1]),
            90: lambda a, r: self._chmod(a, here, r[0], r[1]),
            92: lambda a, r: self._chown(a, (here, r[0]), r[1:3], 0),
            94: lambda a, r: self._chown(a, (here, r[0]), r[1:3], AT_SYMLINK_NOFOLLOW),
            133: lambda a, r: self._make(a, here, r[0]),
            258: lambda a, r: self._make(a, r[0], r[1]),
            259: lambda a, r: self._make(a, r[0], r[1]),
            260: lambda a, r: self._chown(a, (r[0], r[1]), r[2:4], r[4]),
            263: lambda a, r: self._remove(a, r[0], r[1], r[2]),
            264: lambda a, r: self._rename(a, (r[0], r[1]), (r[2], r[3]), 0),
            265: lambda a, r: self._link(a, (r[0], r[1]), (r[2], r[3]), r[4]),
            266: lambda a, r: self._make(a, r[1], r[2]),
            268: lambda a, r: self._chmod(a, r[0], r[1], r[2]),
            280: self._utimensat,
            316: lambda a, r: self._rename(a, (r[0], r[1]), (r[2], r[3]), r[4]),
        }

    # ---- names ----

    def _make(self, call: PathCall, directory: int, address: int) -> int:
        with_inode(call.at(directory, address, follow=False))
        raise OSError(errno.EEXIST, "there already")

    def _remove(self, call: PathCall, directory: int, address: int, flags: int) -> int:
        if flags & _U32 & ~_AT_REMOVEDIR:
            raise OSError(errno.EINVAL, "no such flag")
        view = with_inode(call.at(directory, address, follow=False))
        self._check_may_move(call, view)
        if not flags & _AT_REMOVEDIR:
            number = errno.EISDIR if view.kind is Kind.DIRECTORY else errno.EPERM
        elif view.kind is not Kind.DIRECTORY:
            number = errno.ENOTDIR
        else:
            devices = view.path.startswith("/dev/")
            number = errno.ENOTEMPTY if devices else errno.EPERM
        raise OSError(number, "not to be removed")

    def _rename(
        self, call: PathCall, old: tuple[int, int], new: tuple[int, int], flags: int
    ) -> int:
        if flags & _U32 & ~_RENAME_FLAGS:
            raise OSError(errno.EINVAL, "no such flag")
        source, target = call.perhaps(*old), call.perhaps(*new)
        if source is None:
            self._check_there(call, *old, target)
        self._check_same_device(call, (source, *old), (target, *new))
        if target is not None and flags & _RENAME_NOREPLACE:
            raise OSError(errno.EEXIST, "there already")
        for view in (source, target):
            if view is not None:
                self._check_may_move(call, view)
        if source is not None and source == target:
            return 0
        raise OSError(errno.EPERM, "not to be renamed")

    def _link(
        self, call: PathCall, old: tuple[int, int], new: tuple[int, int], flags: int
    ) -> int:
        if flags & _U32 & ~(_AT_SYMLINK_FOLLOW | AT_EMPTY_PATH):
            raise OSError(errno.EINVAL, "no such flag")
        source, target = call.perhaps(*old), call.perhaps(*new)
        if source is None:
            self._check_there(call, *old, target)
        if target is not None:
            raise OSError(errno.EEXIST, "there already")
        self._check_same_device(call, (source, *old), (target, *new))
        raise OSError(errno.EPERM, "it has one name")

    @staticmethod
    def _check_there(
        call: PathCall, directory: int, address: int, other: View | None
    ) -> None:
        """Look for the kernel's file that a call is about beside *other*."""
        if other is None:
            raise OSError(NOT_OURS, "no view")
        path = call.native_path(directory, address)
        with call.task.caller.aside():
            os.lstat(path)

    @staticmethod
    def _check_same_device(
        call: PathCall, *names: tuple[View | None, int, int]
    ) -> None:
        """Raise EXDEV if two names are in different file systems."""
        devices = set()
        for view, directory, address in names:
            if view is not None:
                path = view.path
            else:
                path = call.native_path(directory, address).rstrip("/")
            with call.task.caller.aside():
                devices.add(_device_of(path.rpartition("/")[0]))
        if len(devices) > 1:
            raise OSError(errno.EXDEV, "another file system")

    def _check_may_move(self, call: PathCall, view: View) -> None:
        """Raise EACCES unless the thread may write the directory that a view is in."""
        parent = self._views.get(view.parent)
        if parent is not None:
            facts = parent.mode, parent.gid, parent.uid
        else:
            status = os.stat(view.parent)  # noqa: PTH116 -- a string
            facts = stat.S_IMODE(status.st_mode), status.st_gid, status.st_uid
        if not Credentials.of(call.task.tid).may(W_OK | X_OK, *facts):
            raise OSError(errno.EACCES, "the directory's mode forbids it")

    # ---- what is at a name ----

    @staticmethod
    def _check_owns(call: PathCall, view: View) -> None:
        if Credentials.of(call.task.tid).uid not in (0, view.uid):
            raise OSError(errno.EPERM, "somebody else's")

    def _chmod(self, call: PathCall, directory: int, address: int, mode: int) -> int:
        view = with_inode(call.at(directory, address, follow=True))
        self._check_owns(call, view)
        self._views.change(view, replace(view, mode=mode & 0o7777))
        return 0

    def _chown(
        self, call: PathCall, name: tuple[int, int], owners: Args, flags: int
    ) -> int:
        if flags & _U32 & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
            raise OSError(errno.EINVAL, "no such flag")
        view = with_inode(call.at_or_open(*name, flags))
        uid, gid = (owner & _U32 for owner in owners)
        if Credentials.of(call.task.tid).uid:
            raise OSError(errno.EPERM, "root's")
        uid = view.uid if uid == _KEEP else uid
        gid = view.gid if gid == _KEEP else gid
        self._views.change(view, replace(view, uid=uid, gid=gid))
        return 0

    def _utimensat(self, call: PathCall, args: Args) -> int:
        directory, address, times, flags = args[:4]
        if flags & _U32 & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH):
            raise OSError(errno.EINVAL, "no such flag")
        view = with_inode(call.at_or_open(directory, address, flags))
        who = Credentials.of(call.task.tid)
        if times:
            self._check_owns(call, view)
        elif not who.may(W_OK, view.mode, view.gid, view.uid):
            raise OSError(errno.EACCES, "the mode forbids it")
        return 0

    def _truncate(self, call: PathCall, args: Args) -> int:
        view = with_inode(call.at(AT_FDCWD, args[0], follow=True))
        if view.kind is Kind.TEXT:
            raise OSError(NOT_OURS, "the kernel says so too")
        is_directory = view.kind is Kind.DIRECTORY
        raise OSError(errno.EISDIR if is_directory else errno.EINVAL, "no file")


def _device_of(directory: str) -> int:
    """Return the number of the file system that a directory is in, or would be."""
    while True:
        try:
            return os.stat(directory or "/").st_dev  # noqa: PTH116 -- a string
        except FileNotFoundError:
            directory = directory.rpartition("/")[0]
