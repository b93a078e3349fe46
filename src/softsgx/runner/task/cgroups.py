"""The machine's cgroups: where their directories are, and which one a process is in.

Paths are those of the unified hierarchy as we see it: what /proc/PID/cgroup says behind
`0::`, and what a mount of cgroup2 shows.
"""

import os
import re
from dataclasses import dataclass

from softsgx.driver.epc.cgroup import Cgroup, EpcCgroups
from softsgx.runner.task.threads import read_proc

CGROUP_ROOT = "/sys/fs/cgroup"
"""Where cgroups are mounted, if they are."""

_MOST_READ = 1 << 14
_NOWHERE = "/.."
"""The path of what is in no cgroup that we see."""

_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class Mount:
    """A mount of the unified hierarchy: its place, and the cgroup that it begins at."""

    place: str
    root: str

    def path_of(self, directory: str) -> str | None:
        """Return the cgroup whose directory that is; None if it is not below."""
        below = _below(directory, self.place)
        return None if below is None else self.root.rstrip("/") + below or "/"

    def directory_of(self, path: str) -> str | None:
        """Return the directory of a cgroup; None if it is not below."""
        below = _below(path, self.root)
        return None if below is None else self.place + below


def mounts(pid: int | str) -> list[Mount]:
    """Return those of a process, by its mountinfo, the deepest first."""
    try:
        text = read_proc(f"/proc/{pid}/mountinfo")
    except OSError:
        return []
    found = []
    for line in text.split("\n"):
        fields, _, rest = line.partition(" - ")
        if rest.startswith("cgroup2 "):
            root, place = fields.split(" ")[3:5]
            found.append(Mount(_plain(place), _plain(root)))
    return sorted(found, key=lambda one: len(one.place), reverse=True)


def mounted_path(pid: int, directory: str) -> str | None:
    """Return the cgroup of a directory as a process sees it; None if it is of none."""
    for mount in mounts(pid):
        path = mount.path_of(directory)
        if path is not None:
            return path
    return None


class MountedHierarchy:
    """The unified hierarchy, by a mount of it that we see."""

    def __init__(self) -> None:
        # One of them may be hidden under another mount.
        found = [one for one in mounts("self") if os.path.isdir(one.place)]  # noqa: PTH112 -- a string
        self.mount = max(found, key=lambda one: one.root == "/") if found else None
        self.has_root = not self._has_file("/", "cgroup.events")
        place = self.mount.place if self.mount else None
        self.device = os.stat(place).st_dev if place else 0  # noqa: PTH116 -- a string

    def ident(self, path: str) -> int:
        """Return the number of a cgroup's directory, which no later one gets; or 0."""
        directory = self.mount.directory_of(path) if self.mount else None
        try:
            return os.stat(directory).st_ino if directory else 0  # noqa: PTH116 -- often
        except OSError:
            return 0

    def _has_file(self, path: str, name: str) -> bool:
        directory = self.mount.directory_of(path) if self.mount else None
        return directory is not None and os.path.lexists(f"{directory}/{name}")


class Membership:
    """The cgroup that a process is in, which can be another at each look."""

    def __init__(self, pid: int):
        self._pid = pid
        self._fd = -1
        self._is_closed = False
        self._raw = b""
        self._cgroup: Cgroup | None = None

    def cgroup(self, cgroups: EpcCgroups) -> Cgroup:
        """Look; what is in no cgroup that we see is the machine's."""
        raw = self._read()
        if self._cgroup is None or self._cgroup.is_dead or raw != self._raw:
            self._raw = raw
            self._cgroup = cgroups.find(unified_path(raw))
        return self._cgroup

    def close(self) -> None:
        """Let go of the process; a call of its last thread may still look."""
        self._is_closed = True
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _read(self) -> bytes:
        try:
            if self._fd < 0 and not self._is_closed:
                name = f"/proc/{self._pid}/cgroup"
                self._fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
            return os.pread(self._fd, _MOST_READ, 0)
        except OSError:
            return self._raw  # it is gone, and so is what is charged for it soon


def unified_path(raw: bytes) -> str:
    """Return the path in the unified hierarchy that /proc/PID/cgroup tells."""
    for line in raw.split(b"\n"):
        if line.startswith(b"0::"):
            return os.fsdecode(line[3:])
    return _NOWHERE


def _below(path: str, top: str) -> str | None:
    """Return what of a path is below another, with its slash; None if it is not."""
    top = top.rstrip("/")
    if path.rstrip("/") == top:
        return ""
    return path[len(top) :] if path.startswith(f"{top}/") else None


def _plain(field: str) -> str:
    return _OCTAL.sub(lambda found: chr(int(found[1], 8)), field)
