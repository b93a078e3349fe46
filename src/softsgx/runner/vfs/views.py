"""The files that a machine with SGX has and this one has not, by their paths.

Device nodes as Linux makes them and Intel's udev rules name them, what sysfs and procfs
say of them, and /proc/cpuinfo.  See decision record 20.
"""

import grp
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from softsgx.driver.cpu import Cpu
from softsgx.driver.device import ENCLAVE, ISGX, PROVISION, VEPC, nodes
from softsgx.runner.answers import NOT_OURS
from softsgx.runner.vfs.cpuinfo import cpuinfo

if TYPE_CHECKING:
    from softsgx.runner.task.process import UserTask

MISC_MAJOR = 10
MINORS = {ENCLAVE: 125, PROVISION: 126, VEPC: 123, ISGX: 124}
GROUPS = {PROVISION: "sgx_prv", VEPC: "sgx"}
"""Of the nodes that not everybody may open, by the udev rules."""

_NODE0 = "/sys/devices/system/node/node0"
_SYSFS_SIZE = 4096
_PLATFORM_DEVICE = "/sys/devices/platform/intel_sgx"


FIRST_INODE = 0x5358_0000
"""Number of the inode of the first view; no file system here has such."""


class Kind(Enum):
    """What stands at a path."""

    NODE = 1
    DIRECTORY = 2
    LINK = 3
    TEXT = 4
    ABSENT = 5
    """This machine has it, the model has not."""


class ViewFile(Protocol):
    """What opens a view, and carries out what is written to it."""

    def open(self, flags: int) -> int:
        """Open it and return our descriptor; OSError."""

    def write(self, task: "UserTask", number: int, args: tuple[int, ...]) -> int:
        """Carry out a call that writes; OSError(NOT_OURS): it is not open to write."""


class MoreViews(Protocol):
    """Views that are not known beforehand, as a process finds them.

    Others have their turn meanwhile.
    """

    @property
    def listed(self) -> tuple[int, int] | None:
        """Device and inode of a directory with such; ANY_INODE for all of a device."""

    def get(self, tid: int, path: str) -> "View | None":
        """Return what stands at a path without links in it."""

    def entries(self, tid: int, directory: str) -> "list[View]":
        """Return what a directory has of them that this machine's has not."""

    def close(self) -> None:
        """Let go of what programs have open: there will be no more calls."""


class NoMoreViews:
    """There are none."""

    listed: tuple[int, int] | None = None

    def get(self, tid: int, path: str) -> "View | None":
        """Return None."""
        del tid, path
        return None

    def entries(self, tid: int, directory: str) -> "list[View]":
        """Return nothing."""
        del tid, directory
        return []

    def close(self) -> None:
        """Do nothing."""


@dataclass(frozen=True, kw_only=True)
class View:
    """One file; its mode is permission bits, *size* bytes as stat tells it."""

    path: str
    kind: Kind
    mode: int = 0
    uid: int = 0
    gid: int = 0
    size: int = 0
    minor: int = 0
    target: str = ""
    text: Callable[[], str] = str
    file: ViewFile | None = None
    """What opens it, and carries out what is written, where it is more than a text."""
    number: int = 0
    """Its inode's."""

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("/")[2]

    @property
    def parent(self) -> str:
        """The directory that it is in."""
        return self.path.rpartition("/")[0]


class Views:
    """All of them, and the directories of this machine in which they appear."""

    def __init__(
        self,
        cpu: Cpu,
        gid: int | None = None,
        more: Iterable[View] = (),
        found: MoreViews | None = None,
    ):
        self.found = found or NoMoreViews()
        made = [*_devices(cpu, gid), *_processor(cpu), *more]
        made += _absent(nodes(cpu))
        self._by_path = {
            view.path: View(**{**vars(view), "number": FIRST_INODE + number})
            for number, view in enumerate(made)
        }
        self.listed = [path for path in self._parents() if Path(path).is_dir()]
        self._homes = dict(self._home_places())
        homes = self._homes.values()
        self.names = {v.name for v in made if v.parent in homes}
        """Names of views that stand in directories of this machine."""

    def get(self, path: str) -> View | None:
        """Return what stands at a path without links in it."""
        return self._by_path.get(path)

    def change(self, view: View, changed: View) -> None:
        """Give a file of ours another mode or owner; OSError: it is the kernel's."""
        if view.path not in self._by_path:
            raise OSError(NOT_OURS, "found, or the kernel's")
        self._by_path[view.path] = changed

    def made(self, path: str) -> View | None:
        """Return the device of a node that a program made."""
        try:
            status = os.stat(path)  # noqa: PTH116 -- a string
        except OSError:
            return None
        if not stat.S_ISCHR(status.st_mode) or os.major(status.st_rdev) != MISC_MAJOR:
            return None
        for node in self._by_path.values():
            if node.kind is Kind.NODE and node.minor == os.minor(status.st_rdev):
                break
        else:
            return None
        mode = stat.S_IMODE(status.st_mode)
        return replace(node, mode=mode, uid=status.st_uid, gid=status.st_gid)

    def entries(self, directory: str) -> list[View]:
        """Return what a directory has that this machine's has not."""
        ours = directory in self._by_path
        return [
            view
            for view in self._by_path.values()
            if view.parent == directory
            and view.kind is not Kind.ABSENT
            and (ours or not os.path.lexists(view.path))
        ]

    def home(self, directory: os.stat_result) -> str | None:
        """Return the path of a directory with views, wherever it is mounted too."""
        return self._homes.get((directory.st_dev, directory.st_ino))

    def _home_places(self) -> Iterator[tuple[tuple[int, int], str]]:
        parents = {view.parent for view in self._by_path.values()}
        for path in sorted(parents - self._by_path.keys()):
            if Path(path).is_dir():
                status = os.stat(path)  # noqa: PTH116 -- a string
                yield (status.st_dev, status.st_ino), path

    @property
    def places(self) -> list[tuple[int, int]]:
        """Return the directories of this machine that have more: device and inode."""
        found = (os.stat(path) for path in self.listed)  # noqa: PTH116 -- strings
        places = [(status.st_dev, status.st_ino) for status in found]
        return [*places, *([self.found.listed] if self.found.listed else [])]

    def _parents(self) -> list[str]:
        parents = {view.parent for view in self._by_path.values()}
        return sorted(p for p in parents if p not in self._by_path and self.entries(p))


def group_of(name: str) -> int:
    """Return a node's group: that of the udev rules, or that of softsgx's user."""
    try:
        return grp.getgrnam(GROUPS.get(name, "root")).gr_gid
    except KeyError:
        return os.getegid()


def _processor(cpu: Cpu) -> Iterator[View]:
    path = "/proc/cpuinfo"
    yield _text(path, lambda: cpuinfo(_native(path), cpu), size=0)


def _devices(cpu: Cpu, gid: int | None) -> Iterator[View]:
    found = nodes(cpu)
    if not found:
        return
    for name in found:
        yield from _device(name, group_of(name) if gid is None else gid)
    yield _text("/proc/misc", partial(_misc, found), size=0)
    if ISGX in found:
        yield _directory(_PLATFORM_DEVICE)
        yield _directory(f"{_PLATFORM_DEVICE}/misc")
        return
    for name in (one for one in found if one != VEPC):
        yield _link(f"/dev/sgx/{name.removeprefix('sgx_')}", f"../{name}")
    yield _directory("/dev/sgx")
    yield _directory(f"{_NODE0}/x86")
    epc = f"{cpu.model.epc_bytes}\n"
    yield _text(f"{_NODE0}/x86/sgx_total_bytes", lambda: epc)


def _device(name: str, group: int) -> Iterator[View]:
    minor = MINORS[name]
    mode, gid = (0o660, group) if name in GROUPS else (0o666, 0)
    yield View(path=f"/dev/{name}", kind=Kind.NODE, mode=mode, gid=gid, minor=minor)
    number = f"{MISC_MAJOR}:{minor}"
    device = "devices/virtual/misc"
    if name == ISGX:
        device = f"{_PLATFORM_DEVICE.removeprefix('/sys/')}/misc"
    for place in ("/dev/char", "/sys/dev/char"):
        up = ".." if place == "/dev/char" else f"../../{device}"
        yield _link(f"{place}/{number}", f"{up}/{name}")
    yield _link(f"/sys/class/misc/{name}", f"../../{device}/{name}")
    device = f"/sys/{device}/{name}"
    event = f"MAJOR={MISC_MAJOR}\nMINOR={minor}\nDEVNAME={name}\n"
    yield _directory(device)
    up = "../" * (device.count("/") - 1)
    yield _link(f"{device}/subsystem", f"{up}class/misc")
    yield _text(f"{device}/dev", lambda: f"{number}\n")
    yield _text(f"{device}/uevent", lambda: event, mode=0o644)


def _absent(found: tuple[str, ...]) -> list[View]:
    """Name what a machine with SGX shows, and the model has not."""
    paths = [f"/dev/{name}" for name in MINORS if name not in found]
    if PROVISION not in found:
        paths += ["/dev/sgx", f"{_NODE0}/x86"]
    return [
        View(path=path, kind=Kind.ABSENT) for path in paths if os.path.lexists(path)
    ]


def _misc(found: tuple[str, ...]) -> str:
    lines = _native("/proc/misc").splitlines(keepends=True)
    others = [line for line in lines if line.split()[-1] not in MINORS]
    return "".join(f"{MINORS[name]:3} {name}\n" for name in found) + "".join(others)


def _native(path: str) -> str:
    return Path(path).read_text(encoding="latin-1")


def _directory(path: str) -> View:
    return View(path=path, kind=Kind.DIRECTORY, mode=0o755)


def _link(path: str, target: str) -> View:
    return View(path=path, kind=Kind.LINK, mode=0o777, size=len(target), target=target)


def _text(
    path: str, text: Callable[[], str], size: int = _SYSFS_SIZE, mode: int = 0o444
) -> View:
    return View(path=path, kind=Kind.TEXT, mode=mode, size=size, text=text)
