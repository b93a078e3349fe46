"""Files of the misc controller, with a line for sgx_epc, in the directories of cgroups.

They are answered like other views, but there are as many as cgroups, and they are found
by what a process has mounted.  See decision records 20 and 39.
"""

import errno
import os
from dataclasses import dataclass

from softsgx.driver.epc.cgroup import Cgroup, EpcCgroups
from softsgx.driver.epc.misc_files import (
    FILES,
    MAX,
    MOST_WRITTEN,
    RESOURCE,
    names_of,
    parse_max,
)
from softsgx.native.abi import ANY_INODE
from softsgx.native.memory import SharedMemory, sealed
from softsgx.runner.answers import NOT_OURS
from softsgx.runner.task.cgroups import CGROUP_ROOT, MountedHierarchy, mounted_path
from softsgx.runner.task.marks import mark_memory
from softsgx.runner.task.process import UserTask
from softsgx.runner.task.threads import read_proc
from softsgx.runner.vfs.views import Kind, View
from softsgx.runner.vfs.written import open_sealed, pieces_of, taken

_MOST_WRITERS = 64
_OURS = 1 << 63
"""In the number of an inode: it is of one of these files, not of a directory."""


@dataclass(frozen=True)
class _Place:
    """One file: its cgroup's path and directory's number, its name, how we reach it."""

    cgroup: str
    ident: int
    name: str
    native: str = ""
    is_read_only: bool = False


@dataclass(frozen=True)
class _Writer:
    """An open file that may be written, the machine's own one beside it, or -1."""

    memory: SharedMemory
    place: _Place
    cgroup: Cgroup
    native: int

    def close(self) -> None:
        self.memory.close()
        if self.native >= 0:
            os.close(self.native)


class CgroupFiles:
    """All of them; *epc_bytes* is what the root's capacity says."""

    def __init__(
        self, cgroups: EpcCgroups, hierarchy: MountedHierarchy, epc_bytes: int
    ):
        self._cgroups = cgroups
        self._hierarchy = hierarchy
        self._epc_bytes = epc_bytes
        self._writers: dict[tuple[int, int], _Writer] = {}

    # ---- while others have their turn ----

    @property
    def listed(self) -> tuple[int, int] | None:
        """Return where there are such: every directory of the hierarchy's device."""
        if self._hierarchy.mount is not None:
            return self._hierarchy.device, ANY_INODE
        try:
            status = os.stat(CGROUP_ROOT)  # noqa: PTH116 -- a string
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def get(self, tid: int, path: str) -> View | None:
        """Return the file at a path."""
        directory, _, name = path.rpartition("/")
        if name not in FILES:
            return None
        found = self._found(tid, directory)
        if found is None or name not in names_of(is_root=self._is_root(found[0])):
            return None
        return self._view(path, *found)

    def entries(self, tid: int, directory: str) -> list[View]:
        """Return the files of a directory that this machine's has not."""
        found = self._found(tid, directory)
        if found is None:
            return []
        views = [
            self._view(f"{directory}/{name}", *found)
            for name in names_of(is_root=self._is_root(found[0]))
        ]
        return [view for view in views if not self._native(found[0], view.name)]

    def _found(
        self, tid: int, directory: str
    ) -> tuple[str, os.stat_result, int] | None:
        """Return a directory's cgroup, its status, and the flags of its mount."""
        root = "" if self._hierarchy.mount is None else f"/proc/{tid}/root"
        try:
            status = os.stat(root + directory)  # noqa: PTH116 -- a string
            flags = os.statvfs(root + directory).f_flag
        except OSError:
            return None
        if not root:
            return ("/", status, flags) if directory == CGROUP_ROOT else None
        if status.st_dev != self._hierarchy.device:
            return None
        path = mounted_path(tid, directory)
        # What we judge by its owner is the cgroup that we mean.
        if path is None or self._hierarchy.ident(path) != status.st_ino:
            return None
        return path, status, flags

    def _is_root(self, path: str) -> bool:
        return path == "/" and self._hierarchy.has_root

    def _view(
        self, path: str, cgroup: str, directory: os.stat_result, flags: int
    ) -> View:
        name = path.rpartition("/")[2]
        native = self._native(cgroup, name)
        owner = os.stat(native) if native else directory  # noqa: PTH116 -- a string
        ident = directory.st_ino if self._hierarchy.mount else 0
        read_only = bool(flags & os.ST_RDONLY)
        place = _Place(cgroup, ident, name, native, read_only)
        return View(
            path=path,
            kind=Kind.TEXT,
            mode=0o644 if name == MAX else 0o444,
            uid=owner.st_uid,
            gid=owner.st_gid,
            file=_File(self, path, place),
            number=_OURS | directory.st_ino << 3 | [*FILES].index(name),
        )

    def _native(self, cgroup: str, name: str) -> str:
        """Return where this machine has such a file itself, or nothing.

        That is our own mount: what is mounted where a program says so may never answer.
        """
        mount = self._hierarchy.mount
        directory = mount.directory_of(cgroup) if mount else None
        file = f"{directory}/{name}"
        return file if directory is not None and os.path.lexists(file) else ""

    # ---- while nobody else has ----

    def text(self, place: _Place) -> str:
        """Return what a file says: this machine's own lines first."""
        cgroup = self._cgroup(place)
        lines = FILES[place.name].text(cgroup, self._epc_bytes)
        if not place.native:
            return lines
        try:
            others = read_proc(place.native).splitlines(keepends=True)
        except OSError:
            return lines
        ours = (f"{RESOURCE} ", f"{RESOURCE}.")
        return "".join(one for one in others if not one.startswith(ours)) + lines

    def open_to_write(self, path: str, place: _Place, flags: int) -> int:
        """Open a file to write it; OSError(EROFS, ENFILE, ENOENT)."""
        if place.is_read_only:
            raise OSError(errno.EROFS, "mounted to be read")
        self._forget_closed()
        if len(self._writers) == _MOST_WRITERS:
            raise OSError(errno.ENFILE, "too many open files of cgroups")
        mode = flags & os.O_ACCMODE
        text = os.fsencode(self.text(place)) if mode == os.O_RDWR else b""
        memory, fd = open_sealed(path, text, 0o644, mode)
        native = _open_native(place.native) if place.native else -1
        cgroup = self._cgroup(place)
        self._writers[memory.place] = _Writer(memory, place, cgroup, native)
        return fd

    def write(self, task: UserTask, number: int, args: tuple[int, ...]) -> int:
        """Carry out a call that writes; all of it, or OSError.

        NOT_OURS: it is not open to write; ENODEV: the cgroup is gone; EINVAL, ERANGE
        and E2BIG as the controller says.
        """
        writer = self._writer(task, args[0])
        pieces = pieces_of(task, number, args)
        size = sum(length for _, length in pieces)
        if size > MOST_WRITTEN:
            raise OSError(errno.E2BIG, "more than a page")
        data = b"".join(task.copy_from_user(*piece) for piece in pieces if piece[1])
        if writer.place.name != MAX:
            raise OSError(errno.EINVAL, "it is not to be written")
        resource, limit = parse_max(data)
        if self._hierarchy.ident(writer.place.cgroup) != writer.place.ident:
            raise OSError(errno.ENODEV, "the cgroup is gone")
        if resource == RESOURCE.encode():
            writer.cgroup.max = limit
        elif writer.native >= 0:
            os.write(writer.native, data)
        else:
            raise OSError(errno.EINVAL, "no such resource")
        return size

    def close(self) -> None:
        """Let go of what programs have open."""
        while self._writers:
            self._writers.popitem()[1].close()

    def _cgroup(self, place: _Place) -> Cgroup:
        if self._hierarchy.ident(place.cgroup) != place.ident:
            raise OSError(errno.ENOENT, "the cgroup is gone")
        return self._cgroups.find(place.cgroup)

    def _writer(self, task: UserTask, number: int) -> _Writer:
        """Return what a descriptor is open on, if it is one to write."""
        with taken(task, number) as (_, place, access):
            # A program can make a memfd of the same name.
            writer = self._writers.get(place)
        if writer is None or access == os.O_RDONLY:
            raise OSError(NOT_OURS, "not open to write")
        return writer

    def _forget_closed(self) -> None:
        for key, writer in list(self._writers.items()):
            if writer.memory.is_alone():
                self._writers.pop(key).close()


def _open_native(path: str) -> int:
    try:
        return os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return -1


@dataclass(frozen=True)
class _File:
    """The view of one, at the path that a program uses."""

    files: CgroupFiles
    path: str
    place: _Place

    def open(self, flags: int) -> int:
        """Open it; OSError."""
        if flags & os.O_ACCMODE != os.O_RDONLY or flags & os.O_TRUNC:
            return self.files.open_to_write(self.path, self.place, flags)
        text = self.files.text(self.place)
        return sealed(mark_memory(self.path), os.fsencode(text))

    def write(self, task: UserTask, number: int, args: tuple[int, ...]) -> int:
        """Carry out a call that writes; OSError."""
        return self.files.write(task, number, args)
