"""Platforms: one of its own for each run, or one that lasts, in a directory."""

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

from softsgx.arch.msr import INTEL_LEPUBKEYHASH
from softsgx.crypto.sha256 import sha256
from softsgx.machine.machine import Machine
from softsgx.machine.model import Model
from softsgx.machine.package import Package
from softsgx.platform.errors import PlatformError
from softsgx.platform.files import (
    appearing,
    name_beside,
    sync_directory,
    write_durably,
)
from softsgx.platform.record import (
    Record,
    check_model,
    decode_record,
    encode_record,
    switched,
)

if TYPE_CHECKING:
    from softsgx.platform.policies import Policies

RECORD_NAME = "platform.toml"
SEED_NAME = "seed"
GUESTS_NAME = "guests"
SEED_SIZE = 32

_IDENTITY_LABEL = b"softsgx platform identity\0"


class OsEntropy:
    """Random bytes from the operating system."""

    def random(self, size: int) -> bytes:
        """Return *size* fresh bytes."""
        return os.urandom(size)


@dataclass(frozen=True)
class Platform:
    """A platform: what is written down, its secret seed, and where it lives."""

    record: Record
    seed: bytes
    directory: Path | None = None

    @classmethod
    def ephemeral(cls, model: Model | None = None) -> Self:
        """Return a platform of its user's own: on, and gone with the process."""
        model = model or Model()
        check_model(model)
        record = Record(model=model, feature_control=switched(model, on=True))
        return cls(record, os.urandom(SEED_SIZE))

    @classmethod
    def create(
        cls,
        directory: Path,
        model: Model | None = None,
        lepubkeyhash: bytes = INTEL_LEPUBKEYHASH,
    ) -> Self:
        """Make a platform in a new directory; it is off until its owner turns it on."""
        model = model or Model()
        check_model(model)
        record = Record(model=model, lepubkeyhash=lepubkeyhash)
        platform = cls(record, os.urandom(SEED_SIZE), directory)
        if (directory / RECORD_NAME).exists():
            raise PlatformError(f"{directory}: there is a platform already")
        try:
            platform._write_new(directory)
        except OSError as error:
            raise PlatformError(f"{directory}: {error.strerror}") from error
        return platform

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Read a platform; PlatformError names the file and what is wrong in it."""
        path = directory / RECORD_NAME
        try:
            record = decode_record(path.read_bytes())
            mode = directory.stat().st_mode
        except FileNotFoundError as error:
            said = "no platform here; `softsgx platform new` makes one"
            raise PlatformError(f"{directory}: {said}") from error
        except OSError as error:
            raise PlatformError(f"{path}: {error.strerror}") from error
        except PlatformError as error:
            raise PlatformError(f"{path}: {error}") from error
        if mode & 0o022:
            raise PlatformError(f"{directory}: others may write to it; chmod go-w it")
        return cls(record, read_secret(directory / SEED_NAME), directory)

    @property
    def model(self) -> Model:
        """The processor model."""
        return self.record.model

    @property
    def is_on(self) -> bool:
        """Say whether enclaves may run on it."""
        return self.record.is_on

    @property
    def has_guests(self) -> bool:
        """Say whether a guest was ever made on it."""
        return self.directory is not None and (self.directory / GUESTS_NAME).exists()

    @property
    def identity(self) -> str:
        """A public name for this platform: tells it from others and from hardware."""
        return f"softsgx-{sha256(_IDENTITY_LABEL + self.seed).hex()[:16]}"

    def switch(self, *, on: bool) -> Self:
        """Turn a platform on or off, in its directory too; return it as it is now."""
        feature_control = switched(self.model, on=on)
        record = replace(self.record, feature_control=feature_control)
        if self.directory is not None:
            self.policies().note_switch(on=on)
            path = self.directory / RECORD_NAME
            try:
                write_durably(path, encode_record(record))
            except OSError as error:
                raise PlatformError(f"{path}: {error.strerror}") from error
        return replace(self, record=record)

    def policies(self) -> "Policies":
        """Return the owner's policies; ValueError where there is no directory."""
        from softsgx.platform.policies import Policies  # noqa: PLC0415 -- few need it

        if self.directory is None:
            raise ValueError("a platform of one run has no policies")
        return Policies(self.directory, self.identity, self.seed)

    def machine(self) -> Machine:
        """Return the machine out of reset: its fuses from the seed, its EPC free."""
        package = Package.from_seed(self.seed, OsEntropy())
        package.cpusvn = self.record.cpusvn
        package.ownerepoch = self.record.ownerepoch
        package.feature_control = self.record.feature_control
        package.lepubkeyhash = self.record.lepubkeyhash
        return Machine.of(self.model, package)

    def delete(self) -> None:
        """Delete its directory: first it is no platform any more, then it is gone."""
        if self.directory is None:
            raise ValueError("a platform of one run has no directory")
        gone = name_beside(self.directory)
        try:
            self.directory.rename(gone)
            sync_directory(gone.parent)
            shutil.rmtree(gone)
        except OSError as error:
            raise PlatformError(f"{self.directory}: {error.strerror}") from error

    def _write_new(self, directory: Path) -> None:
        with appearing(directory) as beside:
            write_durably(beside / SEED_NAME, self.seed, 0o600)
            write_durably(beside / RECORD_NAME, encode_record(self.record))
            replace(self, directory=beside).policies().begin()


def read_secret(path: Path) -> bytes:
    """Read a file of 32 bytes that only its owner may read; PlatformError."""
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            seed = file.read(SEED_SIZE + 1)
    except PermissionError as error:
        raise PlatformError(f"{path}: only its owner may read it") from error
    except OSError as error:
        raise PlatformError(f"{path}: {error.strerror}") from error
    if mode & 0o077:
        raise PlatformError(f"{path}: others may read it; chmod 600 it")
    if len(seed) != SEED_SIZE:
        raise PlatformError(f"{path}: not {SEED_SIZE} bytes")
    return seed
