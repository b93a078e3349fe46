"""Guests with keys of their own: made, kept, moved, and refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from softsgx.machine.model import Model
from softsgx.platform import transfer
from softsgx.platform.errors import PlatformError
from softsgx.platform.guest_record import Keys
from softsgx.platform.guest_transfer import MAGIC, bring_in_guest, export_guest
from softsgx.platform.guests import Guests
from softsgx.platform.platform import Platform
from tests.platform.test_guests import MIB, SMALL, refused

OWN_KEYS = replace(SMALL, keys=Keys.SEPARATE)
WORDS = "correct horse"


@pytest.fixture
def here(tmp_path: Path) -> Platform:
    return Platform.create(tmp_path / "here", Model(epc_bytes=16 * MIB))


@pytest.fixture
def there(tmp_path: Path) -> Platform:
    return Platform.create(tmp_path / "there", Model(epc_bytes=16 * MIB))


def test_each_guest_with_own_keys_has_a_secret_of_its_own(here: Platform) -> None:
    guests = Guests(here)
    one, two = guests.create("one", OWN_KEYS), guests.create("two", OWN_KEYS)
    assert one.secret != two.secret
    assert one.identity != two.identity
    assert guests.create("three", SMALL).secret is None
    kept = guests.start("one")
    assert (kept.secret, guests.stop("one").secret) == (one.secret, one.secret)
    assert (one.directory / "identity").stat().st_mode & 0o777 == 0o600
    (one.directory / "identity").chmod(0o644)
    with refused("others may read it"):
        guests.open("one")


def test_a_guest_is_brought_to_another_platform(
    here: Platform, there: Platform
) -> None:
    guests = Guests(here)
    guests.create("one", OWN_KEYS)
    made = guests.start("one")
    came = bring_in_guest(Guests(there), "two", export_guest(made, WORDS), WORDS)
    assert (came.secret, came.identity) == (made.secret, made.identity)
    assert came.record == OWN_KEYS
    assert Guests(there).open("two") == came
    shared = guests.create("plain", SMALL)
    came = bring_in_guest(Guests(there), "plain", export_guest(shared, WORDS), WORDS)
    assert (came.secret, came.record) == (None, SMALL)


def test_what_is_no_export_is_refused(here: Platform, there: Platform) -> None:
    guests = Guests(there)
    good = export_guest(Guests(here).create("one", OWN_KEYS), WORDS)

    def comes(raw: bytes, words: str = WORDS) -> None:
        bring_in_guest(guests, "two", raw, words)

    with refused("wrong passphrase, or the file was changed"):
        comes(good, "wrong")
    with refused("wrong passphrase, or the file was changed"):
        comes(good[:-1] + bytes([good[-1] ^ 1]))
    with refused("neither an export of a guest nor"):
        comes(b"<domain/>")
    with refused("neither an export of a guest nor"):
        comes(MAGIC + bytes(1 << 20))
    with refused("an export of version 2, this softsgx knows 1"):
        comes(good.replace(MAGIC, b"softsgx guest 2\n"))
    assert guests.all() == []
    comes(good)
    with refused("there is a guest already"):
        comes(good)


def test_a_guest_that_does_not_fit_is_refused(here: Platform, tmp_path: Path) -> None:
    good = export_guest(Guests(here).create("one", OWN_KEYS), WORDS)
    for cpu, why in (
        (
            Model(epc_bytes=MIB),
            "4194304 bytes of EPC for two; the platform has 1048576",
        ),
        (Model(flc=False), "guest two: the platform's processor has no launch control"),
    ):
        place = Platform.create(tmp_path / why[:5], cpu)
        with refused(why):
            bring_in_guest(Guests(place), "two", good, WORDS)


def test_a_platform_takes_its_guests_along(here: Platform, tmp_path: Path) -> None:
    guests = Guests(here)
    guests.create("a.b", OWN_KEYS)
    one = guests.start("a.b")
    (one.directory / "lock").touch()
    raw = transfer.export(here, WORDS)
    brought = Guests(transfer.bring_in(raw, WORDS, tmp_path / "again")).open("a.b")
    assert (brought.record, brought.secret) == (one.record, one.secret)
    assert not (brought.directory / "lock").exists()


def test_files_of_no_guest_do_not_come_with_a_platform(
    here: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Guests(here).create("one", SMALL)
    for name in ("guests/one/other", "guests/../x/guest.toml", "guests/guest.toml"):
        monkeypatch.setattr(transfer, "_names", lambda _, name=name: iter([name]))
        monkeypatch.setattr(Path, "read_bytes", lambda _: b"x")
        raw = transfer.export(here, WORDS)
        monkeypatch.undo()
        with pytest.raises(PlatformError, match="is no file of a platform"):
            transfer.bring_in(raw, WORDS, tmp_path / "again")
