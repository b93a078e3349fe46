"""Guests of a platform: what each is, whether it runs, and who runs programs in it.

A guest is a directory `guests/NAME` of the platform's.  EPC that guests hold is a sum
over the records of those that run: there is no other count that a kill could break.
"""

import fcntl
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic, sleep

from softsgx.arch.addr import PAGE_SIZE
from softsgx.crypto.sha256 import sha256
from softsgx.launch.guests import GUEST_NAME, WhoseLists
from softsgx.platform.audit import Who
from softsgx.platform.errors import PlatformError
from softsgx.platform.files import appearing, name_beside, open_lock, write_durably
from softsgx.platform.guest_record import (
    LEAST_RESIDENT,
    OWN,
    GuestRecord,
    Keys,
    decode_guest,
    encode_guest,
)
from softsgx.platform.platform import GUESTS_NAME, SEED_SIZE, Platform, read_secret

_RECORD_NAME = "guest.toml"
_IDENTITY_NAME = "identity"
_LOCK_NAME = "lock"
GUEST_FILES = frozenset({_RECORD_NAME, _IDENTITY_NAME})
"""What a guest's directory has to be kept of; the lock is of the moment."""

_PUBLIC_LABEL = b"softsgx guest identity\0"
_PATIENCE_S = 10


@dataclass(frozen=True)
class Guest:
    """A guest as it was read; *secret*: 32 bytes, of which its own keys are made."""

    name: str
    record: GuestRecord
    directory: Path
    secret: bytes | None = None

    @property
    def identity(self) -> str:
        """A public name for whose keys it has; empty: the platform's."""
        if self.secret is None:
            return ""
        return f"softsgx-guest-{sha256(_PUBLIC_LABEL + self.secret).hex()[:16]}"


class Guests:
    """The guests of one platform that lasts; PlatformError says what is wrong.

    *who*: who changes them, as the audit log is told; this process unless told.
    """

    def __init__(self, platform: Platform, who: Who | None = None):
        if platform.directory is None:
            raise PlatformError("a platform of one run has no guests")
        self._platform, self._place = platform, platform.directory / GUESTS_NAME
        self._policies, self._who = platform.policies(), who

    def all(self) -> list[Guest]:
        """Return the guests in the order of their names."""
        if not self._place.is_dir():
            return []
        names = sorted(
            path.parent.name for path in self._place.glob(f"*/{_RECORD_NAME}")
        )
        return [self.open(name) for name in names if GUEST_NAME.fullmatch(name)]

    def open(self, name: str) -> Guest:
        """Read a guest."""
        directory = self._place / _checked(name)
        path = directory / _RECORD_NAME
        try:
            record = decode_guest(path.read_bytes())
        except FileNotFoundError as error:
            where = self._platform.directory
            raise PlatformError(f"{where}: no guest is named {name}") from error
        except OSError as error:
            raise PlatformError(f"{path}: {error.strerror}") from error
        except PlatformError as error:
            raise PlatformError(f"{path}: {error}") from error
        separate = record.keys is Keys.SEPARATE
        secret = read_secret(directory / _IDENTITY_NAME) if separate else None
        return Guest(name, record, directory, secret)

    def held(self) -> int:
        """Return the bytes of EPC that the guests which run hold."""
        return sum(one.record.held_bytes for one in self.all())

    def create(
        self, name: str, record: GuestRecord, secret: bytes | None = None
    ) -> Guest:
        """Make a guest that does not run; *secret*: it had keys made of that before."""
        directory = self._place / _checked(name)
        if record.lepubkeyhash != OWN and not self._platform.model.flc:
            why = "the platform's processor has no launch control"
            raise PlatformError(
                f"guest {name}: {why}: only its own launch key is there"
            )
        if record.keys is Keys.SEPARATE and secret is None:
            secret = os.urandom(SEED_SIZE)
        epc = self._platform.model.epc_bytes
        if record.epc_bytes > epc and not self.may_oversubscribe(name):
            asked = (
                f"{record.epc_bytes} bytes of EPC for {name}; the platform has {epc}"
            )
            leave = f"`softsgx policy guest {name} --oversubscribe yes`"
            raise PlatformError(f"{asked}; more is for guests with leave: {leave}")
        self.check_leave(name, record)
        with self._changing():
            if directory.exists():
                raise PlatformError(f"{directory}: there is a guest already")
            self._note("guest-new", name)
            with appearing(directory) as beside:
                write_durably(beside / _RECORD_NAME, encode_guest(record))
                if secret is not None:
                    write_durably(beside / _IDENTITY_NAME, secret, 0o600)
        return Guest(name, record, directory, secret)

    def check_leave(self, name: str, record: GuestRecord) -> None:
        """Refuse a guest that is not to be judged, where only an owner can want that.

        Without an owner's key who may write to the platform's files is the owner.
        """
        rule = self._policies.rule()
        if record.resident_bytes and not self.may_oversubscribe(name):
            table = f"[guests.{name}] oversubscribe = true"
            raise PlatformError(f"guest {name}: the owner has not signed {table}")
        if rule.owner is None or record.launch is WhoseLists.HOST:
            return
        if rule.policy.guest(name).launch is WhoseLists.HOST:
            table = f'[guests.{name}] launch = "guest"'
            raise PlatformError(f"guest {name}: the owner has not signed {table}")

    def may_oversubscribe(self, name: str) -> bool:
        """Say whether the owner lets a guest have more EPC than the host has for it."""
        return self._policies.rule().policy.guest(name).oversubscribe

    def has_provisioning(self, guest: Guest) -> bool:
        """Say whether a guest asked for PROVISIONKEY, and the owner gave leave."""
        rules = self._policies.rule().policy.guest(guest.name)
        return guest.record.provisioning and rules.provisioning

    def enter(self, name: str) -> Guest:
        """Return a guest that is on, and keep others out of it until we end."""
        fd = self.lock(name)
        try:
            return self.usable(name)
        except PlatformError:
            os.close(fd)
            raise

    def usable(self, name: str) -> Guest:
        """Return a guest that is on, and that the owner lets run."""
        guest = self.open(name)
        if not guest.record.is_on:
            hint = f"start it with `softsgx guest start {name}`"
            raise PlatformError(f"guest {name} is off; {hint}")
        self.check_leave(name, guest.record)
        return guest

    def lock(self, name: str) -> int:
        """Keep other processes' programs out of a guest until the descriptor closes."""
        return _lock(self.open(name))

    def start(self, name: str) -> Guest:
        """Turn a guest on: from now on its EPC is nobody else's."""
        with self._changing():
            guest = self.open(name)
            if guest.record.is_on:
                raise PlatformError(f"guest {name} runs already")
            resident = self._resident(guest)
            self._note("guest-start", name)
            return self._switch(guest, on=True, resident=resident)

    def stop(self, name: str) -> Guest:
        """Turn a guest off; no program may run in it."""
        with self._changing():
            guest = self.open(name)
            if not guest.record.is_on:
                raise PlatformError(f"guest {name} does not run")
            os.close(_lock(guest))
            self._note("guest-stop", name)
            return self._switch(guest, on=False)

    def reset(self, name: str) -> None:
        """End by force what runs in a guest that is on."""
        with self._changing():
            guest = self.open(name)
            if not guest.record.is_on:
                raise PlatformError(f"guest {name} does not run")
            self._note("guest-reset", name)
            _end_programs(guest)

    def power_off(self) -> None:
        """Turn all guests off by force, as the end of the machine that they run on."""
        for guest in self.all():
            if guest.record.is_on:
                with self._changing():
                    _end_programs(guest)
                    self._note("guest-stop", guest.name)
                    self._switch(guest, on=False)

    def delete(self, name: str) -> None:
        """Delete a guest that does not run."""
        with self._changing():
            guest = self.open(name)
            if guest.record.is_on:
                raise PlatformError(f"guest {name} runs; stop it first")
            self._note("guest-delete", name)
            gone = name_beside(guest.directory)
            guest.directory.rename(gone)
            shutil.rmtree(gone)

    def _resident(self, guest: Guest) -> int:
        """Return the bytes that a guest really gets, 0: all; it shares what is left.

        The other half stays for the host, and for guests that come later.
        """
        model, asked = self._platform.model, guest.record.epc_bytes
        free = model.epc_bytes - self.held()
        if asked <= free:
            return 0
        said = f"guest {guest.name} has {asked} bytes of EPC; {free} are left"
        if not self.may_oversubscribe(guest.name):
            raise PlatformError(f"{said} by those that run")
        if not (model.oversub and model.enclv):
            raise PlatformError(f"{said}, and the processor cannot oversubscribe EPC")
        half = free // 2 // PAGE_SIZE * PAGE_SIZE
        if half < LEAST_RESIDENT:
            least = 2 * LEAST_RESIDENT
            raise PlatformError(f"{said}, and to oversubscribe takes {least}")
        return half

    def _switch(self, guest: Guest, *, on: bool, resident: int = 0) -> Guest:
        record = replace(guest.record, is_on=on, resident_bytes=resident)
        write_durably(guest.directory / _RECORD_NAME, encode_guest(record))
        return replace(guest, record=record)

    def _note(self, event: str, name: str) -> None:
        who = self._who or Who.of(os.getpid())
        self._policies.log.append(event, who, guest=name)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with self._policies.unchanging():
            try:
                yield
            except OSError as error:
                where = error.filename or self._place
                raise PlatformError(f"{where}: {error.strerror}") from error


def _end_programs(guest: Guest) -> None:
    path = guest.directory / _LOCK_NAME
    latest = monotonic() + _PATIENCE_S
    while holders := _holders(path) if path.exists() else []:
        for pid in holders:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if monotonic() > latest:
            said = f"process {holders[0]} does not end"
            raise PlatformError(f"guest {guest.name}: {said}")
        sleep(0.02)


def _lock(guest: Guest) -> int:
    path = guest.directory / _LOCK_NAME
    fd = open_lock(path)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(fd)
        pids = " ".join(map(str, _holders(path))) or "another's"
        said = f"guest {guest.name}: a program runs in it already, process {pids}"
        raise PlatformError(said) from error
    return fd


def _holders(path: Path) -> list[int]:
    """Return the processes that have a guest's lock open: those that run programs."""
    lock = path.stat()
    return [
        int(process.name)
        for process in Path("/proc").iterdir()
        if process.name.isdigit() and int(process.name) != os.getpid()
        if _has_open(process, lock)
    ]


def _has_open(process: Path, file: os.stat_result) -> bool:
    try:
        return any(_is_same(fd, file) for fd in (process / "fd").iterdir())
    except OSError:
        return False


def _is_same(path: Path, file: os.stat_result) -> bool:
    try:
        return os.path.samestat(path.stat(), file)
    except OSError:
        return False


def _checked(name: str) -> str:
    if not GUEST_NAME.fullmatch(name):
        raise PlatformError(f"{name!r} is no name of a guest")
    return name
