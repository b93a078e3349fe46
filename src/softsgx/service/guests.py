"""The guests of a daemon's platform: each is one more machine, on a part of its EPC.

A guest that is on holds its EPC from then on; its Linux is there from the first program
on.  All is done by the daemon's main thread.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from softsgx.driver.census import enclave_use, total_counts
from softsgx.driver.driver import Driver
from softsgx.platform.audit import Who
from softsgx.platform.errors import PlatformError
from softsgx.platform.guests import Guest, Guests
from softsgx.platform.platform import Platform
from softsgx.runner.guest import VirtualMachine, power_on
from softsgx.runner.task.cgroups import Membership
from softsgx.service.machines import Served

if TYPE_CHECKING:
    from softsgx.service.daemon import Daemon
    from softsgx.service.session import Session

_PATIENCE_S = 3.0
"""Seconds in which what is known of programs that ended is forgotten."""


class _Powered:
    """A guest that is on.

    *served*: its Linux, once a program came.  *lock*: keeps other machines' programs
    out; None: such a one was there before us.
    """

    def __init__(self, vm: VirtualMachine):
        self.vm = vm
        self.served: Served | None = None
        self.lock: int | None = None
        self.is_resetting = False

    def unlock(self) -> None:
        """Let programs come in without us."""
        if self.lock is not None:
            os.close(self.lock)
            self.lock = None


class GuestRoom:
    """The guests on the machine of *host*; a platform that is off gives them none."""

    def __init__(self, daemon: "Daemon", platform: Platform, host: Driver):
        self._daemon, self._platform, self._host = daemon, platform, host
        self._device = host.vepc
        self._powered: dict[str, _Powered] = {}
        for guest in self._recorded_on() if platform.is_on else ():
            try:
                with daemon.turn:
                    one = self._power_on(guest, os.getpid())
                self._lock(one, guest.name)
            except PlatformError as error:
                daemon.complain(str(error))

    def _recorded_on(self) -> list[Guest]:
        """Return the guests that are on as their records say."""
        if not self._platform.has_guests:
            return []
        return [one for one in Guests(self._platform).all() if one.record.is_on]

    def served(self) -> Iterator[tuple[str, Served]]:
        """Yield the guests to which a program came, with their names."""
        for name, one in list(self._powered.items()):
            if one.served:
                yield name, one.served

    # ---- programs ----

    def enter(self, name: str) -> Served:
        """Return the machine of a guest for a program; the turn is ours.

        PlatformError: it is off, or another machine's.
        """
        guest = Guests(self._platform).usable(name)
        one = self._powered.get(name) or self._power_on(guest, os.getpid())
        if one.is_resetting:
            raise PlatformError(f"guest {name} is being reset; try again")
        self._lock(one, name)
        if one.served is None:
            one.served = self._daemon.serve_system(one.vm.system(self._daemon.complain))
        return one.served

    def _lock(self, one: _Powered, name: str) -> None:
        if one.lock is None:
            one.lock = Guests(self._platform).lock(name)

    def _programs(self, name: str) -> "list[Session]":
        return [one for one in self._daemon.sessions if one.guest == name]

    # ---- what an operator asks ----

    def start(self, name: str, who: Who) -> None:
        """Turn a guest on for a process, whose cgroup has its EPC charged."""
        guests = Guests(self._platform, who)
        guest = guests.start(name)
        if not self._platform.is_on:
            return
        try:
            with self._daemon.turn:
                one = self._power_on(guest, who.pid)
        except PlatformError:
            guests.stop(name)
            raise
        self._lock(one, name)

    def stop(self, name: str, who: Who) -> None:
        """Turn a guest off in which no program runs."""
        latest = monotonic() + _PATIENCE_S
        while self._programs(name) and monotonic() < latest:
            self._daemon.attend()
        left = self._programs(name)
        if left:
            pids = " ".join(str(session.peer.pid) for session in left)
            raise PlatformError(f"guest {name}: a program runs in it, process {pids}")
        one = self._powered.get(name)
        with self._unlocked(one, name):
            Guests(self._platform, who).stop(name)
        if one:
            self._close(one)
            with self._daemon.turn:
                one.vm.end()
            one.unlock()
            del self._powered[name]

    @contextmanager
    def _unlocked(self, one: _Powered | None, name: str) -> Iterator[None]:
        """Let others see that no program is in a guest; keep them out if that fails."""
        was_locked = one is not None and one.lock is not None
        if one:
            one.unlock()
        try:
            yield
        except PlatformError:
            if one and was_locked:
                self._lock(one, name)
            raise

    def reset(self, name: str, who: Who) -> None:
        """Reset a guest by force: its programs end, its EPC is empty, its Linux new."""
        Guests(self._platform, who).reset(name)
        one = self._powered.get(name)
        if one is None:
            return
        one.is_resetting = True
        try:
            self._end_programs(name)
            self._close(one)
            with self._daemon.turn:
                one.vm.reset()
        finally:
            one.is_resetting = False

    def power_off(self, who: Who) -> None:
        """Turn all guests off by force, as the end of the machine that they run on."""
        if self._recorded_on():
            Guests(self._platform, who).power_off()
        for name, one in list(self._powered.items()):
            self._end_programs(name)
            self._close(one)
            one.unlock()
        self._powered.clear()

    # ---- machines ----

    def _power_on(self, guest: Guest, pid: int) -> _Powered:
        """Give a guest its EPC, which the cgroup of a process is charged for."""
        membership = Membership(pid)
        self._host.cgroups.enter(membership)
        try:
            vm = power_on(
                self._platform,
                self._device,
                guest,
                self._daemon.complain,
                self._daemon.client_pid,
            )
        except OSError as error:
            asked = f"guest {guest.name} has {guest.record.epc_bytes} bytes of EPC"
            why = f"the host cannot give them: {error.strerror}"
            raise PlatformError(f"{asked}; {why}") from error
        finally:
            self._host.cgroups.enter(None)
            membership.close()
        one = self._powered[guest.name] = _Powered(vm)
        return one

    def _end_programs(self, name: str) -> None:
        """Kill the programs in a guest; PlatformError if one is there for good."""
        programs = self._programs(name)
        for session in programs:
            session.kill()
        self._daemon.dismiss([one.tree for one in programs if one.tree])
        left = [one for one in programs if one.tree]
        if left:
            pid = left[0].peer.pid
            raise PlatformError(f"guest {name}: process {pid} does not end")

    def _close(self, one: _Powered) -> None:
        """End a guest's Linux: who may still have an enclave of its has lost it."""
        if one.served:
            driver = one.served.driver
            with self._daemon.turn:
                seen = [enclave_use(encl) for encl in driver.enclaves.values()]
                self._host.past.add(total_counts(driver, seen))
            self._daemon.close(one.served)
            one.served = None
