"""Finds the view that a path of a process leads to, by the rules of path_resolution(7).

Every directory and link on the way is looked up as the process sees it, except that
views come first.  What does not lead to a view is the kernel's.
"""

import errno
import os
import re
import stat
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

from softsgx.runner.task.marks import marked_path
from softsgx.runner.task.process import UserTask
from softsgx.runner.task.threads import read_proc
from softsgx.runner.vfs.maps import auxv, maps
from softsgx.runner.vfs.views import Kind, View, Views

AT_FDCWD = -100
PATH_MAX = 4096
RESOLVE_NO_SYMLINKS = 4
RESOLVE_BENEATH = 8
RESOLVE_IN_ROOT = 16
_PIECE = 256
_MOST_LINKS = 40
_SERVED = ("fuse", "nfs", "cifs", "smb3", "9p", "autofs", "ceph")
STANDS_FOR_NODE = os.makedev(1, 7)
"""/dev/full: what the agent binds in place of a node of ours."""

_DEV = "/dev"
_FDS = re.compile(r"/proc/\d+(?:/task/\d+)?/fd")
_MEMORY = re.compile(r"/proc/(\d+)(?:/task/\d+)?/(auxv|maps)")


def read_path(task: UserTask, address: int) -> str:
    """Copy a path in; OSError(EFAULT, ENAMETOOLONG)."""
    raw = b""
    while b"\0" not in raw and len(raw) < PATH_MAX:
        at = address + len(raw)
        raw += task.copy_from_user(at, _PIECE - at % _PIECE)
    path, end, _ = raw.partition(b"\0")
    if not end or len(path) >= PATH_MAX:
        raise OSError(errno.ENAMETOOLONG, "a path without an end")
    return os.fsdecode(path)


def dev_of(process: int | str) -> tuple[int, int] | None:
    """Return device and inode of a process's /dev."""
    try:
        status = os.stat(f"/proc/{process}/root{_DEV}")  # noqa: PTH116 -- a string
    except OSError:
        return None
    return status.st_dev, status.st_ino


class _NotOursError(Exception):
    """The way leads to what the kernel knows best."""


@dataclass
class _Walk:
    """One resolution: where it is, what is left, and how often it may still turn."""

    at: str
    left: list[str]
    turns: int = _MOST_LINKS
    passed: bool = False
    """A directory of ours was on the way: the kernel cannot go it."""

    def follow(self, target: str) -> None:
        """Go where a link says."""
        self.turns -= 1
        if self.turns < 0:
            raise OSError(errno.ELOOP, "too many links")
        if target.startswith("/"):
            self.at = ""
        self.left = _parts(target) + self.left


def _parts(path: str) -> list[str]:
    parts = [part for part in path.split("/") if part and part != "."]
    # A path that ends in a slash, or in a dot, is of a directory.
    if parts and (path.endswith(("/", "/."))):
        parts.append(".")
    return parts


class Lookup:
    """Resolves paths of one thread."""

    def __init__(
        self, views: Views, task: UserTask, dev: tuple[int, int] | None = None
    ):
        self._views = views
        self._dev = dev
        self._tid = task.tid
        self._process = task.process
        self._root = ""
        """The process's root directory, if it is another than ours."""

    def path(
        self, directory: int, path: str, *, follow: bool, resolve: int = 0
    ) -> View | None:
        """Return the view at a path; OSError if the way to it is wrong; None: not ours.

        *follow* False: a link at the end is itself what is meant.  *resolve* is that of
        openat2.  What has no inode number is the kernel's but for what is in it.
        """
        if resolve & RESOLVE_IN_ROOT:
            path = path.lstrip("/")
        elif resolve & RESOLVE_BENEATH and path.startswith("/"):
            return None
        start = self._start(directory, path)
        if not path or start is None:
            return None
        walk = _Walk(start, _parts(path), passed=self._views.get(start) is not None)
        try:
            while walk.left:
                link = self._enter(walk, walk.left.pop(0), follow=follow)
                if link is not None:
                    return link
        except _NotOursError:
            return None
        if resolve & RESOLVE_NO_SYMLINKS and walk.turns < _MOST_LINKS:
            raise OSError(errno.ELOOP, "a link on the way")
        view = None
        if self._goes_by_path(walk, walk.at):
            view = self._view(walk.at) or self._of_process(walk.at)
        if view is None and walk.passed:
            return View(path=walk.at, kind=Kind.DIRECTORY)
        return view or self._bound(walk.at)

    def _bound(self, path: str) -> View | None:
        """Return the node that was bound to a path: see STANDS_FOR_NODE."""
        directory, _, name = path.rpartition("/")
        if directory.endswith("/sgx"):
            name = f"sgx_{name}"
        view = self._views.get(f"/dev/{name}")
        if not view or view.kind is not Kind.NODE or self._is_below_served(path):
            return None
        try:
            status = os.stat(f"/proc/{self._tid}/root{path}")  # noqa: PTH116 -- same
        except OSError:
            return None
        is_bound = stat.S_ISCHR(status.st_mode) and status.st_rdev == STANDS_FOR_NODE
        return view if is_bound else None

    def opened(self, fd: int) -> View | None:
        """Return the view that a descriptor of the thread is open on."""
        return self._marked(f"fd/{fd & 0xFFFF_FFFF}")

    def workdir(self) -> View | None:
        """Return the view that its working directory is."""
        return self._marked("cwd")

    def _marked(self, name: str) -> View | None:
        link = self._link(name)
        path = marked_path(link) if link else None
        return self._view(path) if path else None

    def _view(self, path: str) -> View | None:
        view = self._views.get(path)
        if view is None and not self._is_below_served(path):
            view = self._views.found.get(self._tid, path)
        return view

    def _is_below_served(self, path: str) -> bool:
        return any(path.startswith(f"{place}/") for place in self._served)

    def entries(self, path: str) -> list[View]:
        """Return what a directory has of views that have to be found."""
        if self._is_below_served(f"{path}/"):
            return []
        return self._views.found.entries(self._tid, path)

    def is_served(self, path: str) -> bool:
        """Say whether a directory is where somebody else's file system begins."""
        return path in self._served

    def _start(self, directory: int, path: str) -> str | None:
        """Return where a path begins, seen from the process's root directory."""
        root = self._link("root")
        if root is None:
            return None
        self._root = root.rstrip("/")
        if path.startswith("/"):
            return ""
        link = self._link("cwd" if directory == AT_FDCWD else f"fd/{directory}") or ""
        marked = marked_path(link)
        if marked or not f"{link}/".startswith(f"{self._root}/"):
            return marked
        return link[len(self._root) :].rstrip("/")

    def _link(self, name: str) -> str | None:
        try:
            return os.readlink(f"/proc/{self._tid}/{name}")  # noqa: PTH115 -- a string
        except OSError:
            return None

    def _enter(self, walk: _Walk, name: str, *, follow: bool) -> View | None:
        """Go one part further; return a link that is not to be followed."""
        if name == ".":
            return None
        if name == "..":
            walk.at = walk.at.rpartition("/")[0]
            return None
        view = self._entry(walk, name)
        path = view.path if view else f"{walk.at}/{name}"
        if view is not None and view.kind is Kind.ABSENT:
            raise OSError(errno.ENOENT, "the model has no SGX")
        if view is not None and view.kind is not Kind.LINK:
            if walk.left and view.kind is not Kind.DIRECTORY:
                raise OSError(errno.ENOTDIR, "not a directory")
            walk.at = path
            walk.passed = True
            return None
        target = view.target if view else self._target(path)
        if target is None:
            walk.at = path
        elif walk.left or follow:
            walk.follow(target)
        elif view is not None:
            return view
        elif _FDS.fullmatch(walk.at):
            return View(path=path, kind=Kind.LINK, target=target)
        else:
            raise _NotOursError
        return None

    def _entry(self, walk: _Walk, name: str) -> View | None:
        """Return the view of a name in the directory that a walk has come to.

        Where the process has another root, and where a directory is mounted at two
        places, it is known by its inode.
        """
        view = None
        if self._goes_by_path(walk, f"{walk.at}/{name}"):
            view = self._view(f"{walk.at}/{name}")
        if view or walk.passed or name not in self._views.names:
            return view
        if walk.at in self._served:
            raise _NotOursError
        try:
            here = os.stat(f"/proc/{self._tid}/root{walk.at}/")  # noqa: PTH116 -- same
        except OSError:
            return None
        home = self._views.home(here)
        return self._view(f"{home}/{name}") if home else None

    def _goes_by_path(self, walk: _Walk, path: str) -> bool:
        """Say whether what we know by a path is what the process finds there.

        A sandbox with another /dev than its tree has the same procfs and sysfs.
        """
        if walk.passed:
            return True
        return not self._root and not (path.startswith("/dev/") and self._has_own_dev)

    @cached_property
    def _has_own_dev(self) -> bool:
        theirs = dev_of(self._tid)
        return None not in {self._dev, theirs} and theirs != self._dev

    def _target(self, path: str) -> str | None:
        """Return where a link of the process's world leads; None if it is none."""
        if path == "/proc/self":
            return str(self._process.pid)
        if path == "/proc/thread-self":
            return f"{self._process.pid}/task/{self._tid}"
        if path.rpartition("/")[0] in self._served:
            raise _NotOursError
        try:
            target = os.readlink(f"/proc/{self._tid}/root{path}")  # noqa: PTH115 -- same
        except OSError as error:
            if error.errno == errno.EINVAL:
                return None
            raise _NotOursError from error
        if not _FDS.fullmatch(path.rpartition("/")[0]):
            return target
        marked = marked_path(target)
        if marked is None:
            raise _NotOursError
        return marked

    @cached_property
    def _served(self) -> set[str]:
        """Where file systems are mounted that somebody else answers for.

        That may be a program of the tree, which waits for us while we wait for it.
        """
        try:
            text = read_proc(f"/proc/{self._tid}/mountinfo")
        except OSError:
            return set()
        return {
            line.split()[4]
            for line in text.split("\n")
            if line.partition(" - ")[2].startswith(_SERVED)
        }

    def _of_process(self, path: str) -> View | None:
        """Return its auxiliary vector; of one with enclaves, the list of mappings."""
        found = _MEMORY.fullmatch(path)
        process = self._process
        if not found or int(found[1]) != process.pid:
            return None
        if found[2] == "auxv":
            mode, text = 0o400, partial(auxv, process.pid)
        elif process.mm.vmas:
            mode, text = 0o444, partial(maps, process.pid, list(process.mm.vmas))
        else:
            return None
        try:
            of = Path(f"/proc/{process.pid}/{found[2]}").stat()
        except OSError:
            return None
        return View(
            path=path,
            kind=Kind.TEXT,
            mode=mode,
            uid=of.st_uid,
            gid=of.st_gid,
            text=text,
        )
