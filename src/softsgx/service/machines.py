"""A system that a daemon serves, the host's or a guest's: any number of trees on it."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from softsgx.native import lib
from softsgx.runner.machinery import Machinery
from softsgx.runner.system import System

if TYPE_CHECKING:
    from softsgx.service.daemon import Daemon


class Served(Machinery):
    """One whose descriptors the clients keep for the time after us."""

    def __init__(self, daemon: "Daemon", system: System):
        self._daemon = daemon
        self.hierarchy = system.hierarchy
        self._injectors: dict[bool, lib.Injector] = {}
        super().__init__(system)
        self.driver.account = daemon.account

    def injector(self, *, exact: bool) -> lib.Injector:
        """Return what puts agents into the programs of a tree."""
        if exact not in self._injectors:
            self._injectors[exact] = lib.Injector(self.config(exact=exact))
        return self._injectors[exact]

    def inherit(self, kind: str, fd: int) -> Callable[[], None]:
        """Have the client that this thread works for keep a descriptor."""
        session = self._daemon.client()
        return session.keep(kind, fd) if session else super().inherit(kind, fd)

    def release_gone(self) -> None:
        """Release the enclaves that nobody has any more."""
        super().release_gone()
        if self.files.watch.recheck_ms is not None:
            self._daemon.wake()
