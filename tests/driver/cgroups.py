"""Cgroups without a kernel: paths, idents, and members that say where they are."""

from dataclasses import dataclass

from softsgx.driver.epc.cgroup import Cgroup, EpcCgroups


class FakeHierarchy:
    """Directories by their paths; one that is made again has another number."""

    def __init__(self, *, has_root: bool = True) -> None:
        self.has_root = has_root
        self.idents: dict[str, int] = {}
        self.made = 0

    def ident(self, path: str) -> int:
        return self.idents.get(path, 0)

    def make(self, path: str) -> None:
        self.made += 1
        self.idents[path] = self.made

    def remove(self, path: str) -> None:
        del self.idents[path]


@dataclass
class FakeMember:
    """A process in the cgroup of a path."""

    path: str
    asked: int = 0

    def cgroup(self, cgroups: EpcCgroups) -> Cgroup:
        self.asked += 1
        return cgroups.find(self.path)


class Tree:
    """Cgroups that come to be when they are entered."""

    def __init__(self, *, has_root: bool = True) -> None:
        self.hierarchy = FakeHierarchy(has_root=has_root)
        self.cgroups = EpcCgroups(self.hierarchy)

    def make(self, path: str) -> None:
        parts = path.strip("/").split("/")
        for length in range(1, len(parts) + 1):
            prefix = "/" + "/".join(parts[:length])
            if prefix != "/" and not self.hierarchy.ident(prefix):
                self.hierarchy.make(prefix)

    def enter(self, path: str) -> Cgroup:
        self.make(path)
        self.cgroups.enter(FakeMember(path))
        return self.cgroups.current()
