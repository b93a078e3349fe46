"""System calls about paths that may be views: open, stat, access, readlink and others.

The agent asks for a call whose path looks like one of them, and the kernel carries out
what turns out to be none.  Numbers are those of syscalls(2) for x86-64.
"""

import contextlib
import errno
import os
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from struct import Struct

from softsgx.driver.device import ENCLAVE, ISGX, VEPC
from softsgx.native.memory import sealed
from softsgx.runner.answers import NOT_OURS, NewFd, Result
from softsgx.runner.task.files import Files
from softsgx.runner.task.marks import mark_directory, mark_memory
from softsgx.runner.task.process import UserTask
from softsgx.runner.vfs.credentials import R_OK, W_OK, X_OK, Credentials
from softsgx.runner.vfs.lookup import AT_FDCWD, Lookup, dev_of
from softsgx.runner.vfs.names import Names
from softsgx.runner.vfs.path_call import (
    AT_EMPTY_PATH,
    AT_SYMLINK_NOFOLLOW,
    Args,
    Handler,
    PathCall,
    found,
    signed,
    with_inode,
)
from softsgx.runner.vfs.stats import (
    dirents,
    dots,
    native_stat,
    native_statx,
    stat_of,
    statx_of,
)
from softsgx.runner.vfs.views import Kind, View, Views

_AT_EACCESS = 0x200
_AT_NO_AUTOMOUNT = 0x800
_AT_STATX_SYNC = 0x6000
_STATX_RESERVED = 1 << 31
_STAT_FLAGS = AT_SYMLINK_NOFOLLOW | _AT_NO_AUTOMOUNT | AT_EMPTY_PATH | _AT_STATX_SYNC
_ACCESS_FLAGS = AT_SYMLINK_NOFOLLOW | _AT_EACCESS | AT_EMPTY_PATH
_O_TMPFILE_BIT = 0o20000000
_U32 = (1 << 32) - 1
_HOW = Struct("<QQQ")
"""open_how of openat2: flags, mode, resolve."""
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_CREAT = os.O_CREAT | os.O_WRONLY | os.O_TRUNC
_ACCESS = {os.O_RDONLY: R_OK, os.O_WRONLY: W_OK, os.O_RDWR: R_OK | W_OK}


class Paths:
    """Answers them for one machine."""

    def __init__(self, views: Views, files: Files, first: int | str = "self"):
        self._views = views
        self._dev = dev_of(first)
        self._files = files
        self._handlers: dict[int, Handler] = {
            1: lambda a, r: self._write(a, 1, r),
            2: lambda a, r: self._open(a, AT_FDCWD, r[0], r[1]),
            4: lambda a, r: self._stat(a, a.at(AT_FDCWD, r[0], follow=True), r[1]),
            5: lambda a, r: self._stat(a, found(a.opened(r[0])), r[1]),
            6: lambda a, r: self._stat(a, a.at(AT_FDCWD, r[0], follow=False), r[1]),
            18: lambda a, r: self._write(a, 18, r),
            20: lambda a, r: self._write(a, 20, r),
            21: lambda a, r: self._access(a, AT_FDCWD, r[0], r[1], 0),
            89: lambda a, r: self._readlink(a, AT_FDCWD, *r[:3]),
            191: lambda a, r: self._getxattr(a, r[0], follow=True),
            192: lambda a, r: self._getxattr(a, r[0], follow=False),
            194: lambda a, r: self._listxattr(a, r[0], follow=True),
            195: lambda a, r: self._listxattr(a, r[0], follow=False),
            217: self._getdents,
            257: lambda a, r: self._open(a, r[0], r[1], r[2]),
            262: self._newfstatat,
            267: lambda a, r: self._readlink(a, *r[:4]),
            269: lambda a, r: self._access(a, r[0], r[1], r[2], 0),
            332: self._statx,
            437: self._openat2,
            439: lambda a, r: self._access(a, r[0], r[1], r[2], r[3]),
            79: self._getcwd,
            80: self._chdir,
            85: lambda a, r: self._open(a, AT_FDCWD, r[0], _CREAT),
            137: self._statfs,
            165: lambda a, r: self._bind(a, AT_FDCWD, r[0]),
            428: lambda a, r: self._bind(a, r[0], r[1]),
            **Names(views).handlers(),
        }

    def carry_out(self, task: UserTask, args: Args) -> Result:
        """Return the call's value; OSError has its errno, or NOT_OURS.

        The first of *args* holds the number of the call in its upper half.
        """
        handler = self._handlers.get(args[0] >> 32)
        if handler is None:
            raise OSError(NOT_OURS, "no call about paths")
        return handler(PathCall(task, Lookup(self._views, task, self._dev)), args[1:])

    # ---- open ----

    def _openat2(self, call: PathCall, args: Args) -> Result:
        size = min(args[3], _HOW.size)
        how = call.task.copy_from_user(args[2], size).ljust(_HOW.size, b"\0")
        flags, _, resolve = _HOW.unpack(how)
        call = replace(call, resolve=resolve)
        return self._open(call, args[0], args[1], flags)

    def _open(self, call: PathCall, directory: int, address: int, flags: int) -> NewFd:
        if flags & os.O_CREAT and flags & os.O_DIRECTORY and _kernel_refuses_both():
            raise OSError(errno.EINVAL, "no directory is made so")
        exclusive = flags & os.O_CREAT and flags & os.O_EXCL
        follow = not (flags & os.O_NOFOLLOW or exclusive)
        if flags & os.O_CREAT:
            call.check_names_file(directory, address)
        view = self._at_or_made(call, directory, address, follow=follow)
        if view.kind is not Kind.TEXT:
            with_inode(view)
        if exclusive:
            raise OSError(errno.EEXIST, "there already")
        if flags & (os.O_DIRECTORY | _O_TMPFILE_BIT) and view.kind in _NO_DIRECTORY:
            raise OSError(errno.ENOTDIR, "not a directory")
        if flags & os.O_PATH:
            self._check_not_bound(call, view, directory, address)
            fd = _open_name(view)
        else:
            self._check_open(call, view, flags)
            self._check_devices_open(call, view, directory, address)
            fd = self._open_view(call, view, flags)
        return NewFd(fd, flags & os.O_CLOEXEC)

    @staticmethod
    def _check_not_bound(
        call: PathCall, view: View, directory: int, address: int
    ) -> None:
        """Leave the name of a mount to the kernel, which says where it is mounted."""
        if view.kind is Kind.NODE:
            path = call.native_path(directory, address)
            with call.task.caller.aside():
                if os.path.lexists(path):
                    raise OSError(NOT_OURS, "a mount")

    @staticmethod
    def _check_devices_open(
        call: PathCall, view: View, directory: int, address: int
    ) -> None:
        """Raise EACCES where a node was mounted so that no devices are opened."""
        if view.kind is Kind.NODE:
            path = call.native_path(directory, address)
            with call.task.caller.aside(), contextlib.suppress(FileNotFoundError):
                if os.statvfs(path).f_flag & os.ST_NODEV:
                    raise OSError(errno.EACCES, "no devices are opened there")

    def _bind(self, call: PathCall, directory: int, address: int) -> int:
        """Say whether what is to be mounted elsewhere is a node of ours."""
        if call.at(directory, address, follow=True).kind is not Kind.NODE:
            raise OSError(NOT_OURS, "no node")
        return 0

    def _at_or_made(
        self, call: PathCall, directory: int, address: int, *, follow: bool
    ) -> View:
        """Return the view at a path, or a device's of which a program made a node."""
        try:
            return call.at(directory, address, follow=follow)
        except OSError as error:
            view = None
            if error.errno == NOT_OURS and follow:
                path = call.native_path(directory, address)
                with call.task.caller.aside():
                    view = self._views.made(path)
            if view is None:
                raise
            return view

    def _check_open(self, call: PathCall, view: View, flags: int) -> None:
        wanted = _ACCESS.get(flags & os.O_ACCMODE, R_OK | W_OK)
        if flags & os.O_TRUNC:
            wanted |= W_OK
        if view.kind is Kind.LINK:
            raise OSError(errno.ELOOP, "a link")
        if view.kind is Kind.DIRECTORY and (wanted & W_OK or flags & os.O_CREAT):
            raise OSError(errno.EISDIR, "a directory")
        who = Credentials.of(call.task.tid)
        if not who.may(wanted, view.mode, view.gid, view.uid):
            raise OSError(errno.EACCES, "the mode forbids it")
        if view.kind is Kind.TEXT and view.file is None and wanted & W_OK:
            raise OSError(errno.EACCES, "nobody writes it")
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, "nothing that is read directly")

    def _open_view(self, call: PathCall, view: View, flags: int) -> int:
        if view.kind is Kind.DIRECTORY:
            return _open_directory(view)
        if view.file is not None:
            return view.file.open(flags)
        if view.kind is Kind.TEXT:
            with call.task.caller.aside():
                text = os.fsencode(view.text())
            return sealed(mark_memory(view.path), text)
        nodes = {
            ENCLAVE: self._files.open_enclave,
            ISGX: self._files.open_isgx,
            VEPC: self._files.open_vepc,
        }
        return nodes.get(view.name, self._files.open_provision)(flags)

    def _write(self, call: PathCall, number: int, args: Args) -> int:
        view = call.opened(args[0])
        if view is None or view.file is None:
            raise OSError(NOT_OURS, "nothing that can be written")
        return view.file.write(call.task, number, args)

    # ---- look ----

    def _stat(self, call: PathCall, view: View, buffer: int) -> int:
        status = call.native(view)
        raw = native_stat(status) if status else stat_of(with_inode(view))
        call.task.copy_to_user(buffer, raw)
        return 0

    def _newfstatat(self, call: PathCall, args: Args) -> int:
        directory, address, buffer, flags = args[:4]
        if flags & _U32 & ~_STAT_FLAGS:
            raise OSError(errno.EINVAL, "no such flag")
        return self._stat(call, call.at_or_open(directory, address, flags), buffer)

    def _statx(self, call: PathCall, args: Args) -> int:
        directory, address, flags, mask, buffer = args[:5]
        sync = flags & _AT_STATX_SYNC
        if (
            flags & _U32 & ~_STAT_FLAGS
            or sync == _AT_STATX_SYNC
            or mask & _STATX_RESERVED
        ):
            raise OSError(errno.EINVAL, "no such flag")
        view = call.at_or_open(directory, address, flags)
        status = call.native(view)
        raw = native_statx(status) if status else statx_of(with_inode(view))
        call.task.copy_to_user(buffer, raw)
        return 0

    def _access(
        self, call: PathCall, directory: int, address: int, mode: int, flags: int
    ) -> int:
        if mode & _U32 & ~(R_OK | W_OK | X_OK) or flags & _U32 & ~_ACCESS_FLAGS:
            raise OSError(errno.EINVAL, "no such mode, or flag")
        view = call.at_or_open(directory, address, flags)
        status = call.native(view)
        if status is not None:
            facts = status.st_mode, status.st_gid, status.st_uid
        else:
            facts = with_inode(view).mode, view.gid, view.uid
        who = Credentials.of(call.task.tid, real=not flags & _AT_EACCESS)
        if not who.may(mode, *facts):
            raise OSError(errno.EACCES, "the mode forbids it")
        return 0

    def _readlink(
        self, call: PathCall, directory: int, address: int, buffer: int, size: int
    ) -> int:
        if signed(size) <= 0:
            raise OSError(errno.EINVAL, "no room")
        view = call.at(directory, address, follow=False)
        if view.kind is not Kind.LINK:
            raise OSError(errno.EINVAL, "not a link")
        target = os.fsencode(view.target)[: size & _U32]
        call.task.copy_to_user(buffer, target)
        return len(target)

    def _getxattr(self, call: PathCall, address: int, *, follow: bool) -> int:
        view = call.at(AT_FDCWD, address, follow=follow)
        if call.native(view) is None:
            with_inode(view)
        raise OSError(errno.ENODATA, "no attribute")

    def _listxattr(self, call: PathCall, address: int, *, follow: bool) -> int:
        view = call.at(AT_FDCWD, address, follow=follow)
        if call.native(view) is None:
            with_inode(view)
        return 0

    def _statfs(self, call: PathCall, args: Args) -> int:
        """Say whether it is a view; the agent looks at what is near it."""
        with_inode(call.at(AT_FDCWD, args[0], follow=True))
        return 0

    # ---- the working directory ----

    def _chdir(self, call: PathCall, args: Args) -> NewFd:
        """Open a directory, for the agent to go there."""
        view = call.at(AT_FDCWD, args[0], follow=True)
        if view.kind is not Kind.DIRECTORY:
            raise OSError(errno.ENOTDIR, "not a directory")
        if view.number:
            return NewFd(_open_directory(view), os.O_CLOEXEC)
        if call.native(view) is None:
            raise OSError(NOT_OURS, "no directory")
        path = f"/proc/{call.task.tid}/root{view.path}/"
        with call.task.caller.aside():
            return NewFd(os.open(path, _DIRECTORY), os.O_CLOEXEC)

    def _getcwd(self, call: PathCall, args: Args) -> int:
        buffer, size = args[:2]
        path = os.fsencode(found(call.workdir()).path) + b"\0"
        if len(path) > size:
            raise OSError(errno.ERANGE, "a small buffer")
        call.task.copy_to_user(buffer, path)
        return len(path)

    # ---- list ----

    def _getdents(self, call: PathCall, args: Args) -> int:
        """Write what a directory has of ours: all of a view, or what else it has."""
        fd, buffer, size, position = args[:4]
        view = call.opened(fd)
        if view is not None and view.kind is not Kind.DIRECTORY:
            raise OSError(errno.ENOTDIR, "not a directory")
        if view is not None:
            entries = dots(view, position)
            path = view.path
        else:
            entries = b""
            link = f"/proc/{call.task.tid}/fd/{fd & _U32}"
            path = os.readlink(link)  # noqa: PTH115 -- a string
            found = call.entries(path)
            if not found and path not in self._views.listed:
                path = self._views.home(os.stat(link)) or ""  # noqa: PTH116 -- same
                if path not in self._views.listed:
                    raise OSError(NOT_OURS, "no directory of ours")
            entries += dirents(found, position)
        entries += dirents(self._views.entries(path), position)
        if len(entries) > size & _U32:
            raise OSError(errno.EINVAL, "a small buffer")
        call.task.copy_to_user(buffer, entries)
        return len(entries)


@cache
def _kernel_refuses_both() -> bool:
    """Say whether O_CREAT with O_DIRECTORY is no open at all, as since Linux 6.4."""
    try:
        os.close(os.open("/", os.O_CREAT | os.O_DIRECTORY))
    except OSError as error:
        return error.errno == errno.EINVAL
    return False


_NO_DIRECTORY = {Kind.NODE, Kind.TEXT, Kind.LINK}


def _open_name(view: View) -> int:
    """Open what stands for a view that is only named; the agent makes it O_PATH."""
    if view.kind is Kind.DIRECTORY:
        return _open_directory(view)
    if view.kind is Kind.LINK:
        raise OSError(errno.ELOOP, "a link has no descriptor here")
    return sealed(mark_memory(view.path), b"")


def _open_directory(view: View) -> int:
    """Open a directory that is gone from the file system as soon as it is open."""
    path = tempfile.mkdtemp(prefix=mark_directory(view.path))
    place = Path(path)
    try:
        place.chmod(0o755)
        return os.open(path, _DIRECTORY)
    finally:
        place.rmdir()
