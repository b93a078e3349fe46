"""What the accounts of the EPC ask of their caller: cgroups, and who is in which."""

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from softsgx.driver.epc.cgroup import Cgroup, EpcCgroups


class Hierarchy(Protocol):
    """The cgroups of the machine, by their paths in its unified hierarchy."""

    has_root: bool
    """Its path / is the root of all, not a cgroup in which somebody shows us less."""

    def ident(self, path: str) -> int:
        """Return what tells a cgroup from others of its path; 0: there is none."""


class OneCgroup:
    """A machine without cgroups: its root is all."""

    has_root = True

    def ident(self, path: str) -> int:
        """Return 0."""
        del path
        return 0


class Member(Protocol):
    """A process, which is in one cgroup at a time."""

    def cgroup(self, cgroups: "EpcCgroups") -> "Cgroup":
        """Return the one that it is in now."""
