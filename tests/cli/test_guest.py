"""softsgx guest: what it prints, and its refusals."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from softsgx.cli.guest import command
from softsgx.cli.platform import command as platform_command
from softsgx.cli.policy import command as policy_command
from softsgx.platform.platform import Platform


@pytest.fixture
def place(tmp_path: Path) -> Path:
    CliRunner().invoke(platform_command, ["new", str(tmp_path / "p"), "--epc", "8M"])
    return tmp_path / "p"


def guest(place: Path, *words: str) -> Result:
    words = (*words, "--platform", str(place))
    return CliRunner().invoke(command, words, standalone_mode=False)


def test_a_guest_is_made_started_shown_and_deleted(place: Path) -> None:
    made = guest(place, "new", "one", "--epc", "4M", "--kvm", "6.1")
    assert made.output == "one: off, 4096 KiB of EPC\n"
    assert guest(place, "start", "one").output == "one: on, 4096 KiB of EPC\n"
    assert guest(place, "list").output == "one: on, 4096 KiB of EPC\n"
    shown = json.loads(guest(place, "show", "one", "--json").output)
    assert shown["state"] == "on"
    assert (shown["epc_bytes"], shown["lepubkeyhash"]) == (4 << 20, "writable")
    assert shown["kvm"] == "6.1"
    assert json.loads(guest(place, "list", "--json").output) == [shown]
    assert "kvm              6.1\n" in guest(place, "show", "one").output
    assert guest(place, "reset", "one").output == "one: on, 4096 KiB of EPC\n"
    assert guest(place, "stop", "one").output == "one: off, 4096 KiB of EPC\n"
    assert guest(place, "delete", "one").output == "one: deleted\n"
    assert guest(place, "list").output == ""


@pytest.mark.parametrize(
    ("cpu", "word", "kept"),
    [
        ("full", None, "writable"),
        ("full", "own", "own"),
        ("full", "AB" * 32, "ab" * 32),
        ("skylake", None, "own"),
        ("skylake", "own", "own"),
    ],
)
def test_its_launch_key(tmp_path: Path, cpu: str, word: str | None, kept: str) -> None:
    place = tmp_path / "p"
    CliRunner().invoke(platform_command, ["new", str(place), "--cpu", cpu])
    guest(place, "new", "one", *(("--lepubkeyhash", word) if word else ()))
    shown = json.loads(guest(place, "show", "one", "--json").output)
    assert shown["lepubkeyhash"] == kept


@pytest.mark.parametrize("word", ["writable", "ab" * 32])
def test_a_locked_processor_gives_no_choice(tmp_path: Path, word: str) -> None:
    place = tmp_path / "p"
    CliRunner().invoke(platform_command, ["new", str(place), "--cpu", "skylake"])
    refused = guest(place, "new", "one", "--lepubkeyhash", word)
    why = "guest one: the platform's processor has no launch control"
    assert str(refused.exception) == f"{why}: only its own launch key is there"


def test_odd_sizes_are_refused(place: Path) -> None:
    refused = guest(place, "new", "one", "--epc", "4097")
    assert str(refused.exception) == "4097 bytes of EPC: whole pages are needed"
    assert guest(place, "list").output == ""


def test_provisioning_is_asked_for_and_given(place: Path) -> None:
    made = guest(place, "new", "one", "--epc", "4M", "--provisioning")
    hint = "`softsgx policy guest one --provisioning yes`"
    assert made.stderr == f"softsgx: one has no PROVISIONKEY until {hint}\n"

    def shown() -> object:
        return json.loads(guest(place, "show", "one", "--json").output)["provisioning"]

    assert shown() == "asked"
    words = ["guest", "one", "--provisioning", "yes", "--platform", str(place)]
    given = CliRunner().invoke(policy_command, words, standalone_mode=False)
    why = "guests.one: its enclaves may have PROVISIONKEY"
    assert given.stderr == f"softsgx: warning: {why}\n"
    assert shown() == "yes"
    assert guest(place, "new", "two", "--epc", "4M").stderr == ""
    assert "provisioning     no" in guest(place, "show", "two").output
    words = ["guest", "..", "--platform", str(place)]
    refused = CliRunner().invoke(policy_command, words, standalone_mode=False)
    assert str(refused.exception) == "'..' is no name of a guest"


def test_the_policy_shows_what_guests_have_leave_for(place: Path) -> None:
    for words in (
        ["guest", "one", "--provisioning", "yes", "--launch", "guest"],
        ["guest", "two", "--provisioning", "no"],
    ):
        CliRunner().invoke(policy_command, [*words, "--platform", str(place)])
    show = ["show", "--platform", str(place)]
    table = CliRunner().invoke(policy_command, show).output
    assert "guest        one: PROVISIONKEY, lists of the guest\n" in table
    assert "two" not in table
    shown = json.loads(CliRunner().invoke(policy_command, [*show, "--json"]).output)
    assert shown["guests"] == {"one": {"provisioning": True, "launch": "guest"}}


def test_a_guest_is_moved_with_the_keys_of_its_own(place: Path, tmp_path: Path) -> None:
    other, file, secret = (tmp_path / name for name in ("q", "guest", "passphrase"))
    CliRunner().invoke(platform_command, ["new", str(other), "--epc", "8M"])
    secret.write_text("correct horse\n")
    guest(place, "new", "one", "--epc", "4M", "--keys", "separate")
    guest(place, "new", "two", "--epc", "4M")
    guest(place, "start", "one")
    words = ("--passphrase-file", str(secret))
    sent = guest(place, "export", "one", "-o", str(file), *words)
    assert sent.output == f"{file}: one: on, 4096 KiB of EPC\n"
    assert file.stat().st_mode & 0o777 == 0o600
    came = guest(other, "import", str(file), "moved", *words)
    assert came.output == "moved: off, 4096 KiB of EPC\n"

    def shown(where: Path, name: str) -> dict[str, str]:
        words: dict[str, str] = json.loads(guest(where, "show", name, "--json").output)
        return words

    one, moved, two = shown(place, "one"), shown(other, "moved"), shown(place, "two")
    assert moved["keys"] == one["keys"] == "separate"
    assert moved["identity"] == one["identity"]
    assert one["identity"].startswith("softsgx-guest-")
    assert (two["keys"], two["identity"]) == ("shared", Platform.open(place).identity)
    file.write_bytes(b"softsgx platform 1\n")
    refused = guest(other, "import", str(file), "again", *words)
    assert str(refused.exception) == f"{file}: not an export of a guest"
