"""Guests on disk: each whole or not there, and their EPC a sum that no kill breaks."""

import fcntl
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from softsgx.launch.change import give_leave
from softsgx.launch.guests import GuestRules, WhoseLists
from softsgx.machine.model import Model
from softsgx.platform.audit import Who
from softsgx.platform.errors import PlatformError
from softsgx.platform.guest_record import (
    OWN,
    WRITABLE,
    GuestRecord,
    Keys,
    decode_guest,
    encode_guest,
)
from softsgx.platform.guests import Guests
from softsgx.platform.platform import Platform
from softsgx.virt.kvm import Kvm

MIB = 1 << 20
SMALL = GuestRecord(epc_bytes=4 * MIB)
KEY = bytes(range(32))
ME = Who.of(os.getpid())


@pytest.fixture
def guests(tmp_path: Path) -> Guests:
    return Guests(Platform.create(tmp_path / "p", Model(epc_bytes=16 * MIB)))


def refused(why: str) -> pytest.RaisesExc[PlatformError]:
    return pytest.raises(PlatformError, match=why)


@pytest.mark.parametrize(
    "record",
    [
        SMALL,
        GuestRecord(
            epc_bytes=MIB,
            lepubkeyhash=KEY.hex(),
            kvm=Kvm.LINUX_6_1,
            is_on=True,
        ),
        replace(SMALL, lepubkeyhash=OWN, launch=WhoseLists.GUEST),
        replace(SMALL, keys=Keys.SEPARATE, provisioning=True),
        replace(SMALL, is_on=True, resident_bytes=MIB),
    ],
)
def test_a_record_is_read_as_it_was_written(record: GuestRecord) -> None:
    assert decode_guest(encode_guest(record)) == record


GOOD = encode_guest(SMALL).decode()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("version = 2", "version 2, this softsgx knows 1"),
        ("version", "not TOML"),
        (GOOD.replace("4194304", "0"), "0 bytes of EPC: whole pages of 4 KiB"),
        (GOOD.replace("4194304", "4097"), "4097 bytes of EPC: whole pages"),
        (GOOD.replace("4194304", '"4M"'), "epc_bytes: a number from 0 to"),
        (GOOD.replace("writable", "any"), "lepubkeyhash: 64 hex digits are expected"),
        (GOOD.replace("6.12", "5.4"), "kvm: one of 6.1, 6.12 is expected"),
        (GOOD.replace("on = false", "on = 1"), "on: true or false is expected"),
        (GOOD.replace("on = false", ""), "on is missing"),
        (GOOD.replace("shared", "own"), "keys: one of shared, separate is expected"),
        (GOOD.replace('"host"', "1"), "launch: one of host, guest is expected"),
        (GOOD + "resident_bytes = 4096", "resident_bytes 4096: not a part of 4194304"),
        (GOOD + "resident_bytes = 4194304", "resident_bytes 4194304: not a part of"),
        (GOOD + "more = 1", "more: no such key in a guest"),
    ],
)
def test_what_is_wrong_with_a_record_is_named(text: str, why: str) -> None:
    with refused(why):
        decode_guest(text.encode())


@pytest.mark.parametrize(
    ("word", "key", "is_writable"),
    [(WRITABLE, None, True), (OWN, KEY, False), ("ab" * 32, b"\xab" * 32, False)],
)
def test_the_firmware_writes_the_key_that_was_ordered(
    word: str, key: bytes | None, *, is_writable: bool
) -> None:
    setup = replace(SMALL, lepubkeyhash=word).setup(KEY)
    assert (setup.launchkey, setup.is_writable) == (key, is_writable)
    assert setup.epc_bytes == SMALL.epc_bytes


def test_a_guest_lives(guests: Guests) -> None:
    assert guests.all() == []
    made = guests.create("one", SMALL)
    assert (guests.open("one"), guests.all()) == (made, [made])
    assert guests.held() == 0
    assert guests.start("one").record.is_on
    assert guests.held() == 4 * MIB
    with refused("guest one runs already"):
        guests.start("one")
    with refused("guest one runs; stop it first"):
        guests.delete("one")
    assert not guests.stop("one").record.is_on
    with refused("guest one does not run"):
        guests.stop("one")
    with refused("guest one does not run"):
        guests.reset("one")
    guests.delete("one")
    assert guests.all() == []


def test_the_sum_of_their_epc_is_the_platforms(guests: Guests) -> None:
    asked = "17825792 bytes of EPC for big; the platform has 16777216"
    leave = "; more is for guests with leave: `softsgx policy guest big --oversubscribe"
    with refused(asked + leave):
        guests.create("big", GuestRecord(epc_bytes=17 * MIB))
    for name, mib in (("one", 10), ("two", 6), ("three", 1)):
        guests.create(name, GuestRecord(epc_bytes=mib * MIB))
    guests.start("one")
    guests.start("two")
    with refused("guest three has 1048576 bytes of EPC; 0 are left"):
        guests.start("three")
    guests.stop("two")
    guests.start("three")
    with refused(
        "guest two has 6291456 bytes of EPC; 5242880 are left by those that run"
    ):
        guests.start("two")


def _leave(guests: Guests, name: str, rules: GuestRules) -> None:
    guests._policies.change(lambda old: give_leave(old, name, rules), ME)


def test_with_the_owners_leave_a_guest_has_more_than_there_is(tmp_path: Path) -> None:
    model = Model(epc_bytes=16 * MIB, enclv=True, oversub=True)
    guests = Guests(Platform.create(tmp_path / "p", model))
    guests.create("small", SMALL)
    large = GuestRecord(epc_bytes=64 * MIB)
    with refused("67108864 bytes of EPC for big; the platform has 16777216"):
        guests.create("big", large)
    _leave(guests, "big", GuestRules(oversubscribe=True))
    guests.create("big", large)
    guests.start("small")
    assert guests.start("big").record.resident_bytes == 6 * MIB
    assert guests.held() == 10 * MIB
    _leave(guests, "big", GuestRules())
    with refused("the owner has not signed .guests.big. oversubscribe = true"):
        guests.check_leave("big", guests.open("big").record)
    assert guests.stop("big").record == large
    with refused("guest big has 67108864 bytes of EPC; 12582912 are left by those"):
        guests.start("big")


def test_what_oversubscription_takes(tmp_path: Path, guests: Guests) -> None:
    _leave(guests, "big", GuestRules(oversubscribe=True))
    guests.create("big", GuestRecord(epc_bytes=17 * MIB))
    with refused("16777216 are left, and the processor cannot oversubscribe EPC"):
        guests.start("big")
    model = Model(epc_bytes=5 * MIB, enclv=True, oversub=True)
    few = Guests(Platform.create(tmp_path / "few", model))
    _leave(few, "big", GuestRules(oversubscribe=True))
    few.create("one", SMALL)
    few.create("big", SMALL)
    few.start("one")
    with refused("1048576 are left, and to oversubscribe takes 2097152"):
        few.start("big")


@pytest.mark.parametrize("name", ["", "..", "a/b", "-x", "a" * 65, "a\n"])
def test_a_name_is_one_word(name: str, guests: Guests) -> None:
    with refused("is no name of a guest"):
        guests.create(name, SMALL)
    with refused("is no name of a guest"):
        guests.open(name)


def test_an_unknown_guest_and_one_that_is_there(guests: Guests) -> None:
    with refused("no guest is named one"):
        guests.open("one")
    guests.create("one", SMALL)
    with refused("there is a guest already"):
        guests.create("one", SMALL)


def test_who_has_no_directory_has_no_guests() -> None:
    with refused("a platform of one run has no guests"):
        Guests(Platform.ephemeral())


HOLD = """
import fcntl, os, sys, time
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)
fcntl.flock(fd, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


def test_programs_of_one_run_are_in_a_guest_at_a_time(guests: Guests) -> None:
    guests.create("one", SMALL)
    with refused("guest one is off; start it with `softsgx guest start one`"):
        guests.enter("one")
    on = guests.start("one")
    lock = str(on.directory / "lock")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, lock], stdout=subprocess.PIPE
    ) as other:
        assert other.stdout
        other.stdout.readline()
        with refused(f"guest one: a program runs in it already, process {other.pid}"):
            guests.enter("one")
        with refused("a program runs in it already"):
            guests.stop("one")
        guests.reset("one")
        assert other.wait() == -signal.SIGKILL
    fd = os.open(lock, os.O_RDWR)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(fd)
    assert not guests.stop("one").record.is_on


def test_a_reset_that_takes_too_long_is_told(
    guests: Guests, monkeypatch: pytest.MonkeyPatch
) -> None:
    guests.create("one", SMALL)
    lock = guests.start("one").directory / "lock"
    monkeypatch.setattr(os, "kill", lambda *_: None)
    monkeypatch.setattr("softsgx.platform.guests._PATIENCE_S", 0.05)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE
    ) as other:
        assert other.stdout
        other.stdout.readline()
        with refused(f"guest one: process {other.pid} does not end"):
            guests.reset("one")
        monkeypatch.undo()
        other.terminate()


def test_the_end_of_the_machine_is_that_of_its_guests(guests: Guests) -> None:
    for name in ("one", "two", "off"):
        guests.create(name, SMALL)
    lock = str(guests.start("one").directory / "lock")
    guests.start("two")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, lock], stdout=subprocess.PIPE
    ) as other:
        assert other.stdout
        other.stdout.readline()
        guests.power_off()
        assert other.wait() == -signal.SIGKILL
    assert [guest.record.is_on for guest in guests.all()] == [False] * 3


def test_what_happens_to_guests_is_written_down(guests: Guests) -> None:
    guests.create("one", SMALL)
    guests.start("one")
    guests.reset("one")
    guests.stop("one")
    guests.delete("one")
    log = Guests(guests._platform)._policies.log
    events = [
        (record["event"], record.get("guest"))
        for record in reversed(list(log.newest()))
    ]
    names = ("new", "start", "reset", "stop", "delete")
    assert events[1:] == [(f"guest-{name}", "one") for name in names]
