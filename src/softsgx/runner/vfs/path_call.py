"""One system call about paths: who makes it, and what it finds where."""

import errno
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass

from softsgx.runner.answers import IN_PART_OURS, NOT_OURS, Result
from softsgx.runner.task.process import UserTask
from softsgx.runner.vfs.lookup import AT_FDCWD, Lookup, read_path
from softsgx.runner.vfs.views import Kind, View

AT_SYMLINK_NOFOLLOW = 0x100
AT_EMPTY_PATH = 0x1000
_U32 = (1 << 32) - 1

Args = tuple[int, ...]
Handler = Callable[["PathCall", Args], Result]


@dataclass(frozen=True)
class PathCall:
    """One call: the thread that makes it, where and how it looks."""

    task: UserTask
    lookup: Lookup
    resolve: int = 0
    """What openat2 is told of the way."""

    def at(self, directory: int, address: int, *, follow: bool) -> View:
        """Return the view at a path; OSError(NOT_OURS) if there is none."""
        path = read_path(self.task, address)
        with self.task.caller.aside():
            view = self.lookup.path(
                signed(directory), path, follow=follow, resolve=self.resolve
            )
        return found(view)

    def at_or_open(self, directory: int, address: int, flags: int) -> View:
        """Return the view at a path; with AT_EMPTY_PATH and none, of what is open."""
        follow = not flags & AT_SYMLINK_NOFOLLOW
        if not flags & AT_EMPTY_PATH:
            return self.at(directory, address, follow=follow)
        if address and read_path(self.task, address):
            return self.at(directory, address, follow=follow)
        return found(self.opened(directory))

    def opened(self, fd: int) -> View | None:
        """Return the view that a descriptor is open on."""
        with self.task.caller.aside():
            return self.lookup.opened(fd)

    def workdir(self) -> View | None:
        """Return the view that the thread's working directory is."""
        with self.task.caller.aside():
            return self.lookup.workdir()

    def entries(self, path: str) -> list[View]:
        """Return what a directory has of views that have to be found."""
        with self.task.caller.aside():
            return self.lookup.entries(path)

    def perhaps(self, directory: int, address: int) -> View | None:
        """Return the view that a name is of, or None: the kernel's; OSError."""
        try:
            view = self.at(directory, address, follow=False)
        except OSError as error:
            if error.errno != NOT_OURS:
                raise
            return None
        return view if view.number else None

    def native_path(self, directory: int, address: int) -> str:
        """Return how we name a file that is the kernel's."""
        path = read_path(self.task, address)
        if path.startswith("/"):
            return f"/proc/{self.task.tid}/root{path}"
        here = "cwd" if signed(directory) == AT_FDCWD else f"fd/{directory & _U32}"
        return f"/proc/{self.task.tid}/{here}/{path}"

    def check_names_file(self, directory: int, address: int) -> None:
        """Raise EISDIR where a file of ours is named like a directory that is made."""
        path = read_path(self.task, address)
        if path.endswith("/") and path.strip("/"):
            file = path.rstrip("/")
            found(self.lookup.path(signed(directory), file, follow=True))
            raise OSError(errno.EISDIR, "a slash behind a file to be made")

    def native(self, view: View) -> os.stat_result | None:
        """Return the status of a directory of this machine that ours led to, as `..`.

        None: the view has one of its own, or whoever serves the directory may wait.
        """
        if view.number or view.kind is not Kind.DIRECTORY:
            return None
        with self.task.caller.aside():
            if self.lookup.is_served(view.path):
                return None
            try:
                status = os.lstat(f"/proc/{self.task.tid}/root{view.path}/")
            except OSError:
                return None
        return status if stat.S_ISDIR(status.st_mode) else None


def signed(number: int) -> int:
    """Return a C int as a register holds it."""
    number &= _U32
    return number - (1 << 32) if number >> 31 else number


def found(view: View | None) -> View:
    """Return a view that is there; OSError(NOT_OURS)."""
    if view is None:
        raise OSError(NOT_OURS, "no view")
    return view


def with_inode(view: View) -> View:
    """Return a view that is more than a way to the kernel's; OSError(IN_PART_OURS)."""
    if not view.number:
        raise OSError(IN_PART_OURS, "the kernel's own")
    return view
